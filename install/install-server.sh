#!/bin/sh
# Installs the Fairlead server from the unpacked archive of a site, in which this script lies: verifies the archive by its
# SHA256SUMS before anything in it is run, puts it beside the version that is there, switches over, and switches back if the
# new version does not get ready. Names of files are nowhere made from patterns.
set -euf
umask 077

readonly SCRIPT=install-server.sh
readonly NAME=fairlead-server
readonly TITLE='Fairlead server'
# bad usage: a setting that it does not take
readonly STAY_DOWN=2
# A folder for each version, as the archive has it, `current`, which leads to the one that runs, and `previous`, to the one to go
# back to.
readonly LIB_DIR=/usr/local/lib/$NAME
# Is there from before an upgrade's switch until its end, for the run that takes up what another has left: what the schema's
# version was, and what `previous` led to.
readonly UPGRADE_MARK="$LIB_DIR/.upgrade"
readonly BIN_DIR=/usr/local/bin
# How long a version that was put back may take to get ready.
readonly BACK_SECONDS=120
# Beyond what the archive takes: for what the server keeps.
readonly SPARE_KIB=200000

# shellcheck source=install/install-common.sh
. "$(dirname "$0")/install-common.sh"

archive=$(cd "$(dirname "$0")" && pwd -P)
action=install
dry_run=
purge=
public_host=
api_listen=
agent_listen=
data_dir=
ready_seconds=60
work=
release=
version=
previous=

usage() {
  cat <<'TEXT'
Usage: install.sh server [options], in the unpacked archive of a site

Installs the Fairlead server and starts it. A second run changes only what differs; what was set before stays.

  --public-host NAME[,NAME...]  names and addresses under which the server is reached, the first one for URLs
  --api-listen HOST:PORT        where the API listens (by default 0.0.0.0:8440)
  --agent-listen HOST:PORT      where agents connect (by default 0.0.0.0:8443)
  --data-dir DIR                where the server keeps everything (by default /var/lib/fairlead-server)
  --init KIND                   systemd, openrc or none (by default: what runs here)
  --wait SECONDS                how long the server may take to get ready (60)
  --upgrade                     replace the version that is there, nothing else; that one comes back if this one does not get ready
  --uninstall                   remove the server; its data, its settings and its user stay
  --purge                       with --uninstall: remove these, too
  --dry-run                     check everything, say what would be done, and change nothing
TEXT
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --upgrade | --uninstall) action=${1#--} ;;
      --dry-run) dry_run=yes ;;
      --purge) purge=yes ;;
      --help | -h)
        usage
        exit 0
        ;;
      --public-host | --api-listen | --agent-listen | --data-dir | --init | --wait)
        [ $# -ge 2 ] || misused "$1 needs a value"
        require_plain "$1" "$2"
        parse_value "$1" "$2"
        shift
        ;;
      *) misused "there is no option $1" ;;
    esac
    shift
  done
  [ -z "$purge" ] || [ "$action" = uninstall ] || misused '--purge goes with --uninstall'
}

parse_value() {
  case $1 in
    --public-host) public_host=$2 ;;
    --api-listen) api_listen=$2 ;;
    --agent-listen) agent_listen=$2 ;;
    --data-dir) data_dir=$2 ;;
    --init) init=$2 ;;
    --wait) ready_seconds=$2 ;;
  esac
}

recall_settings() {
  public_host=${public_host:-$(setting FAIRLEAD_PUBLIC_HOST)}
  api_listen=${api_listen:-$(setting FAIRLEAD_API_LISTEN)}
  agent_listen=${agent_listen:-$(setting FAIRLEAD_AGENT_LISTEN)}
  before=$(setting FAIRLEAD_DATA_DIR)
  data_dir=${data_dir:-${before:-/var/lib/$NAME}}
  case $data_dir in
    /?*) ;;
    *) misused "--data-dir $data_dir is no absolute path" ;;
  esac
  case $ready_seconds in *[!0-9]*) misused "--wait $ready_seconds is no number of seconds" ;; esac
  if [ -n "$before" ] && [ "$before" != "$data_dir" ] && [ -e "$before/fairlead.db" ]; then
    fail "the server's data is in $before: stop the server and move that to $data_dir first"
  fi
}

# --- what is here

check_data_dir() {
  if [ ! -d "$data_dir" ] || [ -z "$(ls -A "$data_dir")" ] || [ -e "$data_dir/fairlead.db" ]; then return 0; fi
  fail "$data_dir has files in it, and none of a server: name an empty folder, or one that is not there yet, by --data-dir"
}

# Before anything of it is run.
check_archive() {
  [ -f "$archive/SHA256SUMS" ] || fail "there is no SHA256SUMS beside this script: run it in the unpacked archive of a site"
  say "verifying $archive"
  # sha256sum passes over what it does not take for a checksum.
  if grep -qvE '^[0-9a-f]{64}  .' "$archive/SHA256SUMS"; then
    fail 'SHA256SUMS has a line that is no checksum of a file, and nothing of the archive was run'
  fi
  if ! found=$(cd "$archive" && sha256sum -c SHA256SUMS 2>&1); then
    fail "the archive is damaged, and nothing of it was run: $(printf '%s\n' "$found" | grep -v ': OK$' | head -n 3)"
  fi
  others=$(cd "$archive" && find server agent-files ! -type d 2>/dev/null | sort | unlisted | head -n 3)
  [ -z "$others" ] || fail "the archive has files that SHA256SUMS does not vouch for, and nothing of it was run: $others"
  # x86-64 or AArch64, as ELF has them.
  case $(od -An -tx1 -j18 -N1 "$archive/server/bin/node" | tr -d ' ') in
    3e) made_for=x64 ;;
    b7) made_for=arm64 ;;
    *) made_for='another system' ;;
  esac
  [ "$made_for" = "$arch" ] || fail "this archive is for $made_for, and this machine is $arch: take that for linux-$arch"
  version=$("$archive/server/bin/fairlead-server" --version 2>&1) ||
    fail "the server does not run here: $version. It needs glibc 2.28 or newer, libstdc++ and libatomic (Debian and Ubuntu: libatomic1, Fedora and its like: libatomic), and a file system that programs may be run from"
}

# Files on stdin that do not stand in SHA256SUMS.
unlisted() {
  awk 'NR == FNR { sub(/^[0-9a-f]+  (\.\/)?/, ""); known[$0] = 1; next } !($0 in known)' "$archive/SHA256SUMS" -
}

check_space() {
  needed=$(du -sk "$archive" | awk '{ print $1 }')
  [ -n "$(installed_release)" ] || needed=$((needed + SPARE_KIB))
  [ -d "$LIB_DIR/$release" ] || require_space "$LIB_DIR" "$needed"
  [ -d "$data_dir" ] || require_space "$data_dir" "$SPARE_KIB"
}

check_low_ports() {
  for listen in "${api_listen:-0.0.0.0:8440}" "${agent_listen:-0.0.0.0:8443}"; do
    port=${listen##*:}
    case $port in '' | *[!0-9]*) misused "$listen is not HOST:PORT" ;; esac
    if [ "$port" -ge "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" ] || [ "$port" -eq 0 ]; then continue; fi
    [ "$init" = systemd ] || fail "port $port is for root alone, as whom the server does not run without systemd: take one from 1024 up"
    service_capabilities=CAP_NET_BIND_SERVICE
  done
}

# By the Node of the archive, which is verified by then.
check_ports() {
  if is_running; then return 0; fi
  problem=$(
    "$archive/server/bin/node" - --api-listen "${api_listen:-0.0.0.0:8440}" --agent-listen "${agent_listen:-0.0.0.0:8443}" 2>&1 <<'SCRIPT'
const [, , ...given] = process.argv;
for (let at = 0; at < given.length; at += 2) {
  const [flag, listen] = given.slice(at);
  const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(listen);
  const server = require('node:net').createServer();
  server.once('error', ({ code }) => {
    const why = code === 'EADDRINUSE' ? 'is in use by another program' : `cannot be listened at (${code})`;
    console.error(`${listen} ${why}: choose another ${flag}`);
    process.exit(1);
  });
  server.listen({ host, port: Number(port) }, () => server.close());
}
SCRIPT
  ) || fail "$problem"
}

# --- versions

# The name of the folder that runs; empty if there is none.
installed_release() { if [ -L "$LIB_DIR/current" ]; then readlink "$LIB_DIR/current"; fi; }
# The same of what to go back to.
fallback_release() { if [ -L "$LIB_DIR/previous" ]; then readlink "$LIB_DIR/previous"; fi; }

version_of() { "$LIB_DIR/$1/server/bin/fairlead-server" --version; }

# is_put RELEASE: the archive's content is there, every file whole.
is_put() {
  is_same "$archive/SHA256SUMS" "$LIB_DIR/$1/SHA256SUMS" && (cd "$LIB_DIR/$1" && sha256sum -c SHA256SUMS >/dev/null 2>&1)
}

# Two archives of one version, as before a release, lie side by side, and so does one beside what is not whole.
choose_release() {
  previous=$(installed_release)
  release=$previous
  if [ -n "$release" ] && is_put "$release"; then return 0; fi
  sum=$(sha256sum "$archive/SHA256SUMS" | cut -c 1-8)
  release=$version
  beside=0
  until [ ! -e "$LIB_DIR/$release" ] || is_put "$release"; do
    beside=$((beside + 1))
    release=$version-$sum
    if [ "$beside" -gt 1 ]; then release=$release-$beside; fi
  done
}

# Whole or not at all. What lies in the archive's own folder besides is not taken.
put_release() {
  if [ -d "$LIB_DIR/$release" ]; then return 0; fi
  make_folder "$LIB_DIR"
  work=$(mktemp -d "$LIB_DIR/.new.XXXXXX") || fail "no folder can be made in $LIB_DIR"
  mkdir "$work/agent-files"
  for name in SHA256SUMS SHA256SUMS.sig; do if [ -f "$archive/$name" ]; then copy "$name"; fi; done
  copy server
  if [ -d "$archive/agent-files" ]; then copy agent-files; fi
  sed 's/^[0-9a-f]*  //; s/^\.\///; /\//d' "$archive/SHA256SUMS" >"$work/.names"
  while IFS= read -r name; do copy "$name"; done <"$work/.names"
  rm "$work/.names"
  chown -R 0:0 "$work"
  chmod -R u=rwX,go=rX "$work"
  # A loss of power must not leave a version that has its name and not its content.
  sync
  mv "$work" "$LIB_DIR/$release"
  work=
}

copy() { cp -R "$archive/$1" "$work" || fail "$archive/$1 cannot be copied to $LIB_DIR"; }

# lead LINK RELEASE: atomic, which mv is not where the link leads to a folder.
lead() {
  rm -f "$LIB_DIR/.$1"
  ln -s "$2" "$LIB_DIR/.$1"
  "$LIB_DIR/$release/server/bin/node" -e 'require("node:fs").renameSync(...process.argv.slice(1))' "$LIB_DIR/.$1" "$LIB_DIR/$1"
}

switch_to() {
  mark_restart
  lead current "$1"
}

# Before the switch. What another run has begun goes on: what it switched to has not been ready yet. The same archive put anew
# is no upgrade: what it replaces is not whole.
begin_upgrade() {
  if [ -f "$UPGRADE_MARK" ] || is_same "$archive/SHA256SUMS" "$LIB_DIR/$previous/SHA256SUMS"; then return 0; fi
  earlier=$(fallback_release)
  schema=$(schema_version) || schema=unknown
  lead previous "$previous"
  put "$UPGRADE_MARK" 600 <<TEXT
$schema
$earlier
TEXT
}

# Once what runs is ready, which is never what to go back to.
end_upgrade() {
  if [ "$(fallback_release)" = "$(installed_release)" ]; then
    earlier=
    if [ -f "$UPGRADE_MARK" ]; then earlier=$(sed -n 2p "$UPGRADE_MARK"); fi
    if [ -n "$earlier" ] && [ "$earlier" != "$(installed_release)" ] && [ -d "$LIB_DIR/$earlier" ]; then
      lead previous "$earlier"
    else
      rm -f "$LIB_DIR/previous"
    fi
  fi
  rm -f "$UPGRADE_MARK"
}

# All but the one that runs and the one to go back to.
remove_old_releases() {
  fallback=$(fallback_release)
  find "$LIB_DIR" -mindepth 1 -maxdepth 1 -type d | while IFS= read -r dir; do
    case ${dir##*/} in
      "$release" | "${fallback:-$release}") ;;
      *) rm -rf "$dir" ;;
    esac
  done
}

# --- the service

# server_settings COMMAND: has it put them, or plan it.
server_settings() {
  "$1" "FAIRLEAD_PUBLIC_HOST=$public_host" "FAIRLEAD_API_LISTEN=$api_listen" \
    "FAIRLEAD_AGENT_LISTEN=$agent_listen" "FAIRLEAD_DATA_DIR=$data_dir"
}

write_server_service() {
  server_settings put_settings
  service_command=$LIB_DIR/current/server/bin/fairlead-server
  service_paths=$data_dir
  write_service
}

# The version of the store's schema; empty where there is none. By the server's user, whose files they are, and who may have
# written anything there.
schema_version() {
  if [ ! -e "$data_dir/fairlead.db" ]; then return 0; fi
  found=$(
    as_user "$LIB_DIR/$release/server/bin/node - '$data_dir/fairlead.db'" 2>/dev/null <<'SCRIPT'
const { DatabaseSync } = require('node:sqlite');
const store = new DatabaseSync(process.argv[2], { readOnly: true });
console.log(store.prepare('select max(version) as version from schema_version').get().version);
store.close();
SCRIPT
  ) || return 1
  case $found in '' | *[!0-9]*) return 1 ;; esac
  say "$found"
}

# ask_ready VERSION: prints the API's address, the agents', and the CA's fingerprint if that version is ready.
ask_ready() {
  as_user "$LIB_DIR/current/server/bin/node - '$data_dir/runtime.json' '${api_listen:-0.0.0.0:8440}' '$1'" 2>/dev/null <<'SCRIPT'
const [, , file, listen, version] = process.argv;
const { pid, apiUrl, agentUrl, caFingerprint, version: running } = JSON.parse(require('node:fs').readFileSync(file, 'utf8'));
process.kill(pid, 0);
if (running !== version) throw new Error(`${running} still runs`);
const { protocol, port } = new URL(apiUrl);
const host = listen.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
const { get } = require(protocol === 'https:' ? 'node:https' : 'node:http');
const local = { '0.0.0.0': '127.0.0.1', '::': '::1', '': '127.0.0.1' }[host] ?? host;
// Asked whether it is there, of the machine itself; nothing is told to it.
const options = { host: local, path: '/readyz', rejectUnauthorized: false, timeout: 5_000, ...(port && { port }) };
get(options, ({ statusCode }) => {
  if (statusCode !== 200) process.exit(1);
  console.log([new URL(apiUrl).origin, agentUrl, caFingerprint].join('\n'));
  process.exit(0);
}).on('timeout', () => process.exit(1));
SCRIPT
}

# wait_until_ready VERSION SECONDS
wait_until_ready() {
  waited=0
  until ready=$(ask_ready "$1"); do
    waited=$((waited + 1))
    [ "$waited" -le "$2" ] || return 1
    sleep 1
  done
}

# Stops what runs before the switch, so that the store says what it is.
switch_over() {
  if [ "$previous" != "$release" ]; then
    mark_restart
    if [ -n "$previous" ]; then
      stop_service
      begin_upgrade
    fi
    switch_to "$release"
  fi
  write_server_service
  { start_service && wait_until_ready "$version" "$ready_seconds"; } || go_back
  end_upgrade
}

go_back() {
  words=$(last_words)
  fallback=$(fallback_release)
  if [ ! -f "$UPGRADE_MARK" ] || [ -z "$fallback" ] || [ "$fallback" = "$release" ]; then
    fail "the server has started, but did not get ready within $ready_seconds s; it goes on trying. $(log_hint) tells why. Its last words: $words"
  fi
  stop_service
  schema_before=$(sed -n 1p "$UPGRADE_MARK")
  schema_after=$(schema_version) || schema_after=unknown
  old=$(version_of "$fallback") || fail "version $version did not get ready within $ready_seconds s, and is stopped; the one before, in $LIB_DIR/$fallback, does not run here"
  if [ -n "$schema_before" ] && [ "$schema_before" != "$schema_after" ]; then
    fail "version $version did not get ready within $ready_seconds s, and is stopped. It has brought the store from schema version $schema_before to $schema_after, which version $old does not read, so that this was not put back. To go back: move fairlead.db, fairlead.db-wal and fairlead.db-shm in $data_dir away, rename fairlead.db.before-$version there to fairlead.db, and run $LIB_DIR/$fallback/install.sh server --upgrade. Its last words: $words"
  fi
  switch_to "$fallback"
  write_server_service
  { start_service && wait_until_ready "$old" "$BACK_SECONDS"; } || fail "version $version did not get ready within $ready_seconds s, and neither did $old, which was put back. $(log_hint) tells why"
  end_upgrade
  case $archive in "$LIB_DIR"/*) ;; *) [ "$(fallback_release)" = "$release" ] || rm -rf "${LIB_DIR:?}/$release" ;; esac
  fail "version $version did not get ready within $ready_seconds s: version $old runs again. The last words of $version: $words"
}

# --- the whole

clean_up() { if [ -n "$work" ]; then rm -rf "$work"; fi; }

is_origin() {
  is_plain "$1" || return 1
  case ${1#*://} in */*) return 1 ;; esac
  case $1 in http://?* | https://?*) ;; *) return 1 ;; esac
}

# The server's user may have changed what it says of itself, and root may paste what stands here.
tell() {
  api=$(printf '%s\n' "$ready" | sed -n 1p)
  agents=$(printf '%s\n' "$ready" | sed -n 2p)
  fingerprint=$(printf '%s\n' "$ready" | sed -n 3p)
  say "the server runs, version $version"
  { is_origin "$api" && is_plain "$agents" && is_plain "$fingerprint"; } ||
    fail "$data_dir/runtime.json names addresses that are none: nothing of it is shown"
  say "  API:            $api"
  say "  agents:         $agents"
  say "  CA fingerprint: $fingerprint"
  say "  admin token:    $data_dir/admin-token"
  say "next, as root here, a line that makes another machine a host:"
  say "  fairlead --server $api --api-token-file $data_dir/admin-token token create"
  if [ "$init" = none ]; then
    say "no service manager was found: have this run whenever this machine has started: $KEEPER start"
  fi
}

do_install() {
  check_init
  check_data_dir
  check_low_ports
  check_archive
  choose_release
  check_space
  check_ports
  if [ -n "$dry_run" ]; then
    plan
    return 0
  fi
  put_release
  make_user "$data_dir"
  own "$data_dir"
  switch_over
  put_link "$BIN_DIR/fairlead-server" "$LIB_DIR/current/server/bin/fairlead-server"
  put_link "$BIN_DIR/fairlead" "$LIB_DIR/current/server/bin/fairlead"
  remove_old_releases
  tell
}

plan() {
  case $previous in
    '') say "would install version $version in $LIB_DIR/$release" ;;
    "$release") say "would keep version $version, which is in $LIB_DIR/$release" ;;
    *) say "would replace version $(version_of "$previous") by $version" ;;
  esac
  say "would keep the server's data in $data_dir, of the user $NAME"
  server_settings plan_settings
  say "would start the server by $init"
}

do_upgrade() {
  [ -n "$(installed_release)" ] || fail "no server is installed in $LIB_DIR: run this without --upgrade"
  do_install
}

do_uninstall() {
  if [ -n "$dry_run" ]; then
    say "would stop the server and remove $LIB_DIR, its links in $BIN_DIR and the service"
    if [ -n "$purge" ]; then say "would remove $data_dir, $ENV_FILE and the user $NAME"; fi
    return 0
  fi
  if [ -n "$purge" ]; then check_data_dir; fi
  remove_service
  rm -rf "$LIB_DIR" "$BIN_DIR/fairlead-server" "$BIN_DIR/fairlead"
  if [ -n "$purge" ]; then
    remove_user
    rm -rf "$data_dir" "$ENV_FILE"
    say 'the server and its data are removed'
  else
    say "the server is removed; its data is in $data_dir, its settings are in $ENV_FILE"
  fi
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM
parse "$@"
recall_settings
find_machine
find_init
require_tools awk cp cut df du find mktemp od readlink setsid sha256sum stat su sync tail
"do_$action"
