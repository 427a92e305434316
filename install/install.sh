#!/bin/sh
# Installs the Fairlead agent on a Docker host: fetches it from the server, verifies it, enrolls this host and starts it.
#
# The server serves this script at /install.sh with the settings below filled in. Whom it trusts, in order: the line that
# `fairlead token create` prints holds the SHA-256 of this whole script and compares it before anything is run; the script
# holds the SHA-256 of each executable, which is compared before it is run, and the CA that downloads are checked against;
# and the token holds the pin of that CA, which the agent checks before it sends the token. So nothing depends on the
# connection that this script itself came by, nor on openssl being here.
# Names of files are nowhere made from patterns.
set -euf
umask 077

# settings
SERVER=''
CA_PEM=''
SHA256_linux_x64=''
SHA256_linux_arm64=''
# end of settings

readonly SCRIPT=install.sh
readonly NAME=fairlead-agent
readonly TITLE='Fairlead agent'
# revoked, not enrolled, expired, refused by version
readonly STAY_DOWN='3 4 5 6'
# Where its executable is found.
readonly LINK=/usr/local/bin/$NAME
# Root's, but for the folder in it where the agent's own executable lies, which it replaces when it upgrades itself.
readonly LIB_DIR=/var/lib/$NAME
readonly OWN_DIR=$LIB_DIR/bin
readonly STATE_DIR=/etc/$NAME
# The executable, compressed and not, beside one that is there already.
readonly NEEDED_KIB=280000
# Certificates are valid from five minutes before they are made.
readonly MAX_CLOCK_SECONDS=290

# The server puts it in here.
# shellcheck source=install/install-common.sh
. "$(dirname "$0")/install-common.sh"

action=install
dry_run=
token=${FAIRLEAD_TOKEN-}
unset FAIRLEAD_TOKEN
host_name=
tags=
docker=
proxy=${HTTPS_PROXY-${https_proxy-}}
no_proxy_list=${NO_PROXY-${no_proxy-}}
work=
self_upgrade=

usage() {
  cat <<'TEXT'
Usage: install.sh [--token - | --token-file FILE] [options]
       install.sh server [options]   (in the unpacked archive of a site; server --help shows the options)

Installs the Fairlead agent, enrolls this host by a token and starts the agent. A second run changes only what differs.

  --token -          read the enrollment token from stdin (also: FAIRLEAD_TOKEN in the environment)
  --token-file FILE  read it from a file
  --server URL       the server's API, if not at the address that this script came from
  --name NAME        the host's name in the mesh (by default its hostname)
  --tag TAG          a tag for the host; may be repeated
  --docker ADDRESS   where Docker listens: a socket's path or tcp://HOST:PORT (by default /var/run/docker.sock)
  --proxy URL        the proxy on the way to the server (by default HTTPS_PROXY)
  --no-proxy LIST    hosts that are reached without it (by default NO_PROXY)
  --init KIND        systemd, openrc or none (by default: what runs here)
  --no-self-upgrade  keep the executable root's own, so that the agent cannot replace it when the server has a release for it
  --self-upgrade     let it do so (which is so unless told otherwise before)
  --upgrade          replace the executable by the server's, older or newer, and start it again, nothing else
  --uninstall        take this host out of the mesh and remove everything that was installed
  --dry-run          check everything, say what would be done, and change nothing
TEXT
}

read_token() {
  case $1 in
    -) IFS= read -r token || [ -n "$token" ] || fail 'stdin holds no token' ;;
    *) misused '--token takes only "-", for stdin: what stands on a command line can be seen by every user of this machine' ;;
  esac
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --upgrade | --uninstall) action=${1#--} ;;
      --dry-run) dry_run=yes ;;
      --self-upgrade) self_upgrade=yes ;;
      --no-self-upgrade) self_upgrade=no ;;
      --help | -h)
        usage
        exit 0
        ;;
      --token | --token-file | --server | --name | --tag | --docker | --proxy | --no-proxy | --init)
        [ $# -ge 2 ] || misused "$1 needs a value"
        parse_value "$1" "$2"
        shift
        ;;
      *) misused "there is no option $1" ;;
    esac
    shift
  done
}

parse_value() {
  case $1 in
    --token) read_token "$2" ;;
    --token-file)
      [ -r "$2" ] || fail "$2 cannot be read"
      IFS= read -r token <"$2" || [ -n "$token" ] || fail "$2 holds no token"
      ;;
    --server) SERVER=$2 ;;
    --name) host_name=$2 ;;
    --tag) tags="$tags $2" ;;
    --docker) docker=$2 ;;
    --proxy) proxy=$2 ;;
    --no-proxy) no_proxy_list=$2 ;;
    --init) init=$2 ;;
  esac
  case $1 in
    --token | --token-file) ;;
    *) require_plain "$1" "$2" ;;
  esac
}

# What was set before stays, unless it is given anew. What fetches and what enrolls goes through the proxy too.
recall_settings() {
  docker=${docker:-$(setting FAIRLEAD_DOCKER)}
  proxy=${proxy:-$(setting HTTPS_PROXY)}
  no_proxy_list=${no_proxy_list:-$(setting NO_PROXY)}
  self_upgrade=${self_upgrade:-$(setting FAIRLEAD_SELF_UPGRADE)}
  unset HTTPS_PROXY https_proxy NO_PROXY no_proxy
  if [ -n "$proxy" ]; then
    require_plain --proxy "$proxy"
    export HTTPS_PROXY="$proxy" https_proxy="$proxy"
  fi
  if [ -n "$no_proxy_list" ]; then
    require_plain --no-proxy "$no_proxy_list"
    export NO_PROXY="$no_proxy_list" no_proxy="$no_proxy_list"
  fi
}

# --- what is here

# What the machine needs of the script, and where the executable goes.
choose_executable() {
  case $arch in
    x64) sha256=$SHA256_linux_x64 ;;
    arm64) sha256=$SHA256_linux_arm64 ;;
  esac
  BIN=$OWN_DIR/$NAME
  if [ "$self_upgrade" = no ]; then BIN=$LINK; fi
}

check_docker() {
  case ${docker:-/var/run/docker.sock} in
    tcp://*) socket_group= ;;
    *)
      socket=${docker:-/var/run/docker.sock}
      socket=${socket#unix://}
      [ -S "$socket" ] || fail "Docker is not reachable: there is no socket $socket. Install and start Docker, or name its socket by --docker"
      socket_group=$(stat -L -c %G "$socket")
      case $socket_group in
        root | UNKNOWN) fail "the socket of Docker, $socket, belongs to the group $socket_group, so that only root could use it: give it to a group of its own (dockerd --group docker)" ;;
      esac
      ;;
  esac
}

check_tools() {
  require_tools awk df find gunzip mktemp readlink setsid sha256sum stat su
  have curl || { have wget && ! wget --help 2>&1 | grep -q BusyBox; } ||
    fail 'neither curl nor GNU wget is here, and BusyBox has no wget that the server would talk to: install one of them'
}

# Not in a pipe, whose part that comes first would end unseen.
check_clock() {
  headers=$(fetch_headers "$SERVER/healthz") || fail "$SERVER cannot be reached, or has another certificate than it should: $headers"
  server_time=$(printf '%s\n' "$headers" | awk '
    tolower($1) == "date:" {
      split($6, t, ":"); m = (index("JanFebMarAprMayJunJulAugSepOctNovDec", $4) + 2) / 3
      y = $5; if (m <= 2) { y--; m += 12 }
      days = 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * (m - 3) + 2) / 5) + $3 - 719469
      printf "%d", days * 86400 + t[1] * 3600 + t[2] * 60 + t[3]; exit
    }')
  [ -n "$server_time" ] || return 0
  off=$(($(date +%s) - server_time))
  if [ "$off" -gt "$MAX_CLOCK_SECONDS" ] || [ "$off" -lt "-$MAX_CLOCK_SECONDS" ]; then
    fail "this machine's clock is wrong: it is ${off#-} s $([ "$off" -gt 0 ] && echo ahead of || echo behind) the server's, and certificates would not be valid. Set it"
  fi
}

# --- the download

# Whatever a wrong clock makes of certificates: what comes is only compared with the clock.
fetch_headers() {
  if have curl; then
    curl -sSk --max-time 30 -D - -o /dev/null "$1" 2>&1
  else
    wget -S -T 30 -t 1 --no-check-certificate -O /dev/null "$1" 2>&1
  fi
}

# fetch URL FILE
fetch() {
  url=$1
  file=$2
  set --
  if have curl; then
    if [ -n "$CA_PEM" ]; then set -- --cacert "$work/ca.pem"; fi
    curl -fsS --retry 5 --connect-timeout 30 --speed-limit 1000 --speed-time 60 "$@" -o "$file" "$url"
  else
    if [ -n "$CA_PEM" ]; then set -- --ca-certificate="$work/ca.pem"; fi
    wget -nv -t 5 -T 60 "$@" -O "$file" "$url"
  fi
}

# Puts the verified executable into $work, in the file system where it will stay, and where nobody but root can change it.
download() {
  dir=$(executable_folder)
  make_folder "$dir"
  remove_left "$dir"
  work=$(mktemp -d "$dir/.$NAME.XXXXXX") || fail "no folder can be made in $dir"
  [ -d "$work" ] || fail "mktemp has made no folder in $dir"
  printf '%s\n' "$CA_PEM" >"$work/ca.pem"
  say "fetching the agent from $SERVER"
  fetch "$SERVER/download/linux/$arch/$NAME.gz" "$work/$NAME.gz" || fail "the agent could not be fetched from $SERVER"
  gunzip "$work/$NAME.gz" || fail 'what was fetched cannot be unpacked'
  found=$(sha256sum "$work/$NAME" | awk '{ print $1 }')
  [ "$found" = "$sha256" ] ||
    fail "what was fetched is not what the server vouches for (sha256 $found instead of $sha256): nothing of it was run. Make a new token if the server's agents have just been replaced"
  chmod 755 "$work/$NAME"
  "$work/$NAME" --version >"$work/version" 2>&1 ||
    fail "the agent does not run here: $(cat "$work/version"). It needs glibc 2.28 or newer, libstdc++ and libatomic (Debian and Ubuntu: libatomic1, Fedora and its like: libatomic)"
}

# remove_left FOLDER: what a run that was killed has downloaded there.
remove_left() {
  if [ -d "$1" ]; then find "$1" -maxdepth 1 -type d -name ".$NAME.??????" -exec rm -rf {} +; fi
}

executable_folder() { if [ "$BIN" = "$LINK" ]; then dirname "$LINK"; else say "$LIB_DIR"; fi; }

# Once: it takes a small machine seconds.
check_executable() {
  current=
  if [ -f "$BIN" ] && [ -x "$BIN" ] && [ ! -L "$BIN" ] && [ "$(sha256sum "$BIN" | awk '{ print $1 }')" = "$sha256" ]; then
    current=yes
  fi
}
is_current() { [ -n "$current" ]; }

# Of the executable that is there; empty if there is none that runs.
installed_version() {
  if has_user && [ -x "$LINK" ]; then as_user "$LINK --version" 2>/dev/null | harmless; fi
}

# is_newer VERSION VERSION: by their numbers.
is_newer() {
  printf '%s\n%s\n' "$1" "$2" | awk -F '[ .(-]' '
    { number = $1 * 1e12 + $2 * 1e6 + $3 }
    NR == 1 { first = number }
    END { exit !(first > number) }'
}

put_executable() {
  before=$(installed_version)
  mark_restart
  if [ "$BIN" = "$LINK" ]; then put_for_root; else put_for_agent; fi
  say "installed $BIN, version $(cat "$work/version")${before:+, in place of version $before}"
}

put_for_root() {
  # Not into a folder that it may lead to.
  if [ -L "$LINK" ]; then rm -f "$LINK"; fi
  mv -f "$work/$NAME" "$LINK"
  rm -rf "$LIB_DIR"
}

# By the agent's user, whose folder it is: root writes nothing where that user may have put links. What the agent keeps of a
# version of before goes, so that nothing puts that back.
put_for_agent() {
  if [ ! -d "$OWN_DIR" ]; then (umask 022 && mkdir "$OWN_DIR"); fi
  chown "$NAME:$NAME" "$OWN_DIR"
  as_user "umask 022 && cat >$BIN.new && chmod 755 $BIN.new && rm -f $BIN.part $BIN.next $BIN.previous && mv -f $BIN.new $BIN" <"$work/$NAME" ||
    fail "$BIN cannot be written"
  put_link "$LINK" "$BIN"
}

# --- the whole

is_enrolled() { [ -f "$STATE_DIR/agent.json" ]; }

join_docker() {
  if [ -z "$socket_group" ] || id -nG "$NAME" | tr ' ' '\n' | grep -qx "$socket_group"; then return 0; fi
  mark_restart
  if have usermod; then usermod -a -G "$socket_group" "$NAME"; else addgroup "$NAME" "$socket_group"; fi
}

# What agent.json says of this host: read as its user, who may have put a link there.
identity() { as_user "sed -n 's/^ *\"$1\": \"\([^\"]*\)\",*\$/\1/p' $STATE_DIR/agent.json"; }

# Whether the CA that came with this script, where one did, is one of this host's.
knows_ca() {
  [ -n "$CA_PEM" ] || return 0
  { printf '%s\nof the host\n' "$CA_PEM" && as_user "cat $STATE_DIR/ca.pem"; } | awk '
    /^of the host/ { of_host = 1 }
    /^-----BEGIN/ { body = ""; next }
    /^-----END/ { if (!of_host) known[body] = 1; else if (body in known) found = 1 }
    { body = body $0 }
    END { exit !found }'
}

# Neither the agent nor the token of another installation is for this host.
check_membership() {
  { is_enrolled && has_user; } || return 0
  home=$(identity server)
  { [ "$home" != "$SERVER" ] && is_plain "$home"; } || return 0
  knows_ca || fail "this host is enrolled at $home, which is another installation: take it out of that first, by --uninstall in the place of --token -"
}

join_mesh() {
  if is_enrolled; then
    unused=
    if [ -n "$host_name$tags" ]; then unused=', nor were --name and --tag: fairlead host rename and fairlead host tag change them'; fi
    say "this host is enrolled already; its token was not used$unused"
  else
    enroll
  fi
}

# The token goes by stdin. The environment, which others might read, has none of it. The values have no quotes in them.
enroll() {
  line="$BIN enroll --server '$SERVER' --token - --state-dir $STATE_DIR"
  if [ -n "$host_name" ]; then line="$line --name '$host_name'"; fi
  for tag in $tags; do line="$line --tag '$tag'"; done
  printf '%s\n' "$token" | as_user "$line"
}

# agent_settings COMMAND: has it put them, or plan it.
agent_settings() {
  "$1" "FAIRLEAD_DOCKER=$docker" "HTTPS_PROXY=$proxy" "NO_PROXY=$no_proxy_list" \
    "FAIRLEAD_SELF_UPGRADE=$(if [ "$self_upgrade" = no ]; then echo no; fi)"
}

write_agent_service() {
  agent_settings put_settings
  service_command="$BIN run"
  # Then the agent leaves it to what runs it to start it again when an upgrade has failed.
  service_settings=FAIRLEAD_SUPERVISED=1
  service_after=docker.service
  if [ "$init" = openrc ]; then service_after=docker; fi
  service_paths=$STATE_DIR
  if [ "$BIN" != "$LINK" ]; then service_paths="$STATE_DIR $OWN_DIR"; fi
  write_service
}

wait_until_connected() {
  waited=0
  until state=$(as_user "$BIN status --state-dir $STATE_DIR --json") && printf '%s\n' "$state" | grep -q '"connected": true'; do
    if has_ended; then fail "the agent has ended, and is not started again. Its last words: $(last_words)"; fi
    waited=$((waited + 1))
    [ "$waited" -le 20 ] || fail "the agent has started, but does not reach the server yet; it goes on trying. $(log_hint) tells why. Hosts need the server's port for agents (8443 unless set otherwise) besides that of the API"
    sleep 1
  done
}

tell_docker() {
  if printf '%s\n' "$state" | grep -q '"reachable": false'; then
    say "note: the agent does not reach Docker at ${docker:-/var/run/docker.sock}; why, this says: su -s /bin/sh $NAME -c 'fairlead-agent doctor'"
  fi
}

clean_up() {
  if [ -z "$work" ]; then return 0; fi
  rm -rf "$work"
  # Nothing of a first run that has failed.
  rmdir "$LIB_DIR" 2>/dev/null || :
}

check_server() {
  [ -n "$SERVER" ] || fail 'which server is not known: take this script from a server, at /install.sh'
  [ -n "$sha256" ] ||
    fail "the server has no agent for linux/$arch; its administrator can make one by: npm run build:agent -- --target linux-$arch"
  check_clock
}

# What a release has put there may be newer than what the server gives to new hosts; only --upgrade goes back.
keeps_newer() {
  [ "$action" = install ] && [ -x "$BIN" ] && is_newer "$(installed_version)" "$(cat "$work/version")"
}

# Verified before anything of the machine is changed.
replace_executable() {
  if is_current; then
    if [ "$BIN" != "$LINK" ]; then put_link "$LINK" "$BIN"; fi
    say "$BIN is current"
  else
    require_space "$(executable_folder)" "$NEEDED_KIB"
    download
    if keeps_newer; then
      say "$BIN is kept: its version $(installed_version) is newer than the server's, $(cat "$work/version"), which --upgrade would put there"
    else
      make_user "$STATE_DIR"
      put_executable
    fi
  fi
}

do_install() {
  check_init
  check_docker
  is_enrolled || [ -n "$token$dry_run" ] || misused 'a token is needed: --token - reads it from stdin'
  check_server
  check_membership
  check_executable
  if [ -n "$dry_run" ]; then
    plan_install
    return 0
  fi
  replace_executable
  make_user "$STATE_DIR"
  join_docker
  own "$STATE_DIR"
  join_mesh
  write_agent_service
  start_service || fail "the agent could not be started: $(log_hint) tells why"
  wait_until_connected
  say "the agent runs and is connected; as its user, it says how it is: su -s /bin/sh $NAME -c '$NAME status'"
  tell_docker
  if [ "$init" = none ]; then
    say "no service manager was found: have this run whenever this machine has started: $KEEPER start"
  fi
}

plan_install() {
  if is_current; then
    say "would keep $BIN, which is current"
  else
    require_space "$(executable_folder)" "$NEEDED_KIB"
    say "would install the agent for linux/$arch as $BIN"
  fi
  say "would make the user $NAME in the group ${socket_group:-$NAME}"
  if is_enrolled; then
    say "would keep the identity in $STATE_DIR"
  else
    say "would enroll this host at $SERVER, with its identity in $STATE_DIR$([ -n "$token" ] || say ', by the token that it is given then')"
  fi
  agent_settings plan_settings
  say "would start the agent by $init"
}

do_upgrade() {
  [ -x "$LINK" ] || fail "$LINK is not installed"
  check_init
  check_server
  check_membership
  check_executable
  if is_current && ! needs_restart; then
    say "$BIN is current, version $(installed_version)"
    return 0
  fi
  if [ -n "$dry_run" ]; then
    if is_current; then say "would keep $BIN"; else say "would replace $BIN, version $(installed_version)"; fi
    say "would start the agent again by $init"
    return 0
  fi
  replace_executable
  write_agent_service
  start_service || fail "the agent could not be started: $(log_hint) tells why"
}

do_uninstall() {
  if [ -n "$dry_run" ]; then
    say "would stop the agent, take this host out of the mesh, and remove $LINK, $LIB_DIR, $STATE_DIR, $ENV_FILE, the service and the user $NAME"
    return 0
  fi
  remove_service
  if is_enrolled && has_user && [ -x "$LINK" ]; then
    as_user "$LINK unenroll --state-dir $STATE_DIR" ||
      say 'note: the server was not told that this host has left: remove it there'
  fi
  remove_user
  remove_left "$(dirname "$LINK")"
  rm -rf "$LINK" "$LIB_DIR" "$(dirname "$KEEPER")" "$STATE_DIR" "$ENV_FILE"
  say 'the agent is removed'
}

install_server() {
  [ -f "$(dirname "$0")/install-server.sh" ] ||
    fail 'the server is installed from the archive of a site: unpack that, and run install.sh server in it. A script that comes from a server installs agents'
  exec sh "$(dirname "$0")/install-server.sh" "$@"
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM
if [ "${1-}" = server ]; then
  shift
  install_server "$@"
fi
parse "$@"
recall_settings
find_machine
find_init
choose_executable
check_tools
"do_$action"
