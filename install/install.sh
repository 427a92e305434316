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

readonly NAME=fairlead-agent
readonly BIN=/usr/local/bin/$NAME
# Starts it again where no service manager does.
readonly KEEPER=/usr/local/lib/$NAME/keep-running
readonly STATE_DIR=/etc/$NAME
readonly ENV_FILE=/etc/default/$NAME
readonly UNIT=/etc/systemd/system/$NAME.service
readonly RC_SCRIPT=/etc/init.d/$NAME
readonly PID_FILE=/run/$NAME.pid
readonly LOG_FILE=/var/log/$NAME.log
# Is there from before something changes that the agent takes up when it starts until it has started: whoever kills this
# script in between leaves it to the next run. It goes with what runs.
readonly RESTART_MARK=/run/$NAME.restart
# The executable, compressed and not, beside one that is there already.
readonly NEEDED_KIB=280000
# Certificates are valid from five minutes before they are made.
readonly MAX_CLOCK_SECONDS=290
readonly STOP_SECONDS=15

action=install
dry_run=
token=${FAIRLEAD_TOKEN-}
unset FAIRLEAD_TOKEN
host_name=
tags=
docker=
proxy=${HTTPS_PROXY-${https_proxy-}}
no_proxy_list=${NO_PROXY-${no_proxy-}}
init=
work=

say() { printf '%s\n' "$*"; }
fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}
misused() {
  printf 'install.sh: %s; --help shows the options\n' "$*" >&2
  exit 2
}
have() { command -v "$1" >/dev/null 2>&1; }

usage() {
  cat <<'TEXT'
Usage: install.sh [--token - | --token-file FILE] [options]

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
  --upgrade          replace the executable by the server's and start it again, nothing else
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
    --token-file) IFS= read -r token <"$2" || [ -n "$token" ] || fail "$2 holds no token" ;;
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

# They go into files that shells and systemd read, and into lists.
require_plain() {
  case $2 in
    '' | *[!]A-Za-z0-9:/.,=_@%+*[-]*) misused "$1 is empty or has characters that stand in no name or address" ;;
  esac
}

# What was set before stays, unless it is given anew. What fetches and what enrolls goes through the proxy too.
recall_settings() {
  if [ -f "$ENV_FILE" ]; then
    docker=${docker:-$(sed -n 's/^FAIRLEAD_DOCKER=//p' "$ENV_FILE")}
    proxy=${proxy:-$(sed -n 's/^HTTPS_PROXY=//p' "$ENV_FILE")}
    no_proxy_list=${no_proxy_list:-$(sed -n 's/^NO_PROXY=//p' "$ENV_FILE")}
  fi
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

check_machine() {
  [ "$(id -u)" = 0 ] || fail 'this needs root: put sudo before sh'
  [ "$(uname -s)" = Linux ] || fail "there is no installer for $(uname -s): run the agent from a checkout there"
  case $(uname -m) in
    x86_64 | amd64) arch=x64 sha256=$SHA256_linux_x64 ;;
    aarch64 | arm64) arch=arm64 sha256=$SHA256_linux_arm64 ;;
    *) fail "there is no agent for the architecture $(uname -m): there is one for x86_64 and for aarch64" ;;
  esac
  find_init
}

find_init() {
  if [ -z "$init" ]; then
    if [ -f "$UNIT" ] || [ -d /run/systemd/system ]; then
      init=systemd
    elif [ -f "$RC_SCRIPT" ] || [ -d /run/openrc ]; then
      init=openrc
    else
      init=none
    fi
  fi
  case $init in
    systemd) have systemctl || fail 'systemctl is not here: --init openrc or --init none' ;;
    openrc) have rc-service || fail 'rc-service is not here: --init systemd or --init none' ;;
    none) ;;
    *) misused "--init is systemd, openrc or none, not $init" ;;
  esac
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

check_space() {
  dir=$(dirname "$BIN")
  # What is not there yet is made in the file system of what is.
  while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
  free=$(df -Pk "$dir" | awk 'END { print $4 }')
  [ "$free" -ge "$NEEDED_KIB" ] ||
    fail "there is too little space in $(dirname "$BIN"): $((free / 1024)) MiB are free, and $((NEEDED_KIB / 1024)) are needed"
}

check_tools() {
  for tool in awk cmp df gunzip mktemp sha256sum stat su; do
    have "$tool" || fail "$tool is not here: install the basic tools of this system (coreutils, gzip and awk, or busybox)"
  done
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

mark_restart() {
  make_folder "$(dirname "$RESTART_MARK")"
  : >"$RESTART_MARK" || fail "$RESTART_MARK cannot be written"
}
needs_restart() { [ -e "$RESTART_MARK" ]; }

make_folder() { [ -d "$1" ] || (umask 022 && mkdir -p "$1"); }

# Puts the verified executable into $work, in the file system where it will stay.
download() {
  make_folder "$(dirname "$BIN")"
  work=$(mktemp -d "$(dirname "$BIN")/.$NAME.XXXXXX") || fail "no folder can be made in $(dirname "$BIN")"
  [ -d "$work" ] || fail "mktemp has made no folder in $(dirname "$BIN")"
  printf '%s\n' "$CA_PEM" >"$work/ca.pem"
  say "fetching the agent from $SERVER"
  fetch "$SERVER/download/linux/$arch/$NAME.gz" "$work/$NAME.gz" || fail "the agent could not be fetched from $SERVER"
  gunzip "$work/$NAME.gz" || fail 'what was fetched cannot be unpacked'
  found=$(sha256sum "$work/$NAME" | awk '{ print $1 }')
  [ "$found" = "$sha256" ] ||
    fail "what was fetched is not what the server vouches for (sha256 $found instead of $sha256): nothing of it was run. Make a new token if the server's agents have just been replaced"
  chmod 755 "$work" "$work/$NAME"
  "$work/$NAME" --version >"$work/version" 2>&1 ||
    fail "the agent does not run here: $(cat "$work/version"). It needs glibc 2.28 or newer, libstdc++ and libatomic (Debian and Ubuntu: libatomic1, Fedora and its like: libatomic)"
}

# Once: it takes a small machine seconds.
check_executable() {
  current=
  if [ -x "$BIN" ] && [ "$(sha256sum "$BIN" | awk '{ print $1 }')" = "$sha256" ]; then current=yes; fi
}
is_current() { [ -n "$current" ]; }

put_executable() {
  mark_restart
  mv -f "$work/$NAME" "$BIN"
  say "installed $BIN, version $(cat "$work/version")"
}

# --- who it runs as

has_user() { grep -q "^$NAME:" /etc/passwd; }
has_group() { grep -q "^$1:" /etc/group; }

make_user() {
  has_group "$NAME" || if have groupadd; then groupadd --system "$NAME"; else addgroup -S "$NAME"; fi
  has_user || if have useradd; then
    useradd --system --gid "$NAME" --home-dir "$STATE_DIR" --no-create-home --shell /bin/false "$NAME"
  else
    adduser -S -D -H -h "$STATE_DIR" -s /bin/false -G "$NAME" "$NAME"
  fi
  if [ -z "$socket_group" ] || id -nG "$NAME" | tr ' ' '\n' | grep -qx "$socket_group"; then return 0; fi
  mark_restart
  if have usermod; then usermod -a -G "$socket_group" "$NAME"; else addgroup "$NAME" "$socket_group"; fi
}

remove_user() {
  if has_user; then if have userdel; then userdel "$NAME"; else deluser "$NAME"; fi; fi
  if has_group "$NAME"; then if have groupdel; then groupdel "$NAME"; else delgroup "$NAME"; fi; fi
}

# --- the service

# put FILE MODE: what stands on stdin becomes the file, whole, unless it is that already.
put() {
  make_folder "$(dirname "$1")"
  if ! { cat >"$1.new" && chmod "$2" "$1.new"; }; then
    rm -f "$1.new"
    fail "$1 cannot be written"
  fi
  if cmp -s "$1.new" "$1"; then
    rm -f "$1.new"
  else
    mark_restart
    mv -f "$1.new" "$1" || fail "$1 cannot be replaced"
  fi
}

# Only root and the agent read it: a proxy's address may hold a password.
write_environment() {
  settings=$(
    if [ -n "$docker" ]; then say "FAIRLEAD_DOCKER=$docker"; fi
    if [ -n "$proxy" ]; then say "HTTPS_PROXY=$proxy"; fi
    if [ -n "$no_proxy_list" ]; then say "NO_PROXY=$no_proxy_list"; fi
  )
  put "$ENV_FILE" 640 <<TEXT
$settings
TEXT
  chgrp "$NAME" "$ENV_FILE"
}

# Nothing cuts the log where there is no journal: only warnings go into it, and it begins anew with each start.
write_keeper() {
  put "$KEEPER" 755 <<TEXT
#!/bin/sh
# Runs the Fairlead agent, and again when it has failed, until it is stopped or says that it must stay down.
set -a
. $ENV_FILE
FAIRLEAD_LOG_LEVEL=\${FAIRLEAD_LOG_LEVEL:-warn}
set +a
stopped=
child=
trap 'stopped=yes; if [ -n "\$child" ]; then kill "\$child" 2>/dev/null; fi' TERM INT HUP
while [ -z "\$stopped" ]; do
  $BIN run &
  child=\$!
  # A signal ends the first wait; the agent ends in its own time.
  wait "\$child"
  code=\$?
  while kill -0 "\$child" 2>/dev/null; do
    wait "\$child"
    code=\$?
  done
  # stopped, revoked, not enrolled, expired, refused by version
  case \$code in 0 | 3 | 4 | 5 | 6) exit "\$code" ;; esac
  sleep 5 &
  child=\$!
  wait "\$child"
done
TEXT
}

write_unit() {
  put "$UNIT" 644 <<TEXT
[Unit]
Description=Fairlead agent
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=exec
ExecStart=$BIN run
EnvironmentFile=-$ENV_FILE
User=$NAME
Group=$NAME
Restart=on-failure
RestartSec=5
# revoked, not enrolled, expired, refused by version
RestartPreventExitStatus=3 4 5 6
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths=$STATE_DIR
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
TEXT
}

write_rc_script() {
  put "$RC_SCRIPT" 755 <<TEXT
#!/sbin/openrc-run
name="Fairlead agent"
command="$KEEPER"
command_user="$NAME:$NAME"
command_background=yes
pidfile="$PID_FILE"
output_log="$LOG_FILE"
error_log="$LOG_FILE"
retry="TERM/$STOP_SECONDS/KILL/2"

depend() {
  need net
  after docker
}

start_pre() {
  checkpath --file-truncate --mode 0640 --owner "$NAME:$NAME" "$LOG_FILE"
}
TEXT
}

write_service() {
  case $init in
    systemd)
      write_unit
      systemctl daemon-reload
      ;;
    openrc)
      write_keeper
      write_rc_script
      ;;
    none) write_keeper ;;
  esac
}

is_running() {
  case $init in
    systemd) systemctl is-active --quiet "$NAME" ;;
    openrc) rc-service "$NAME" status >/dev/null 2>&1 ;;
    none) [ -f "$PID_FILE" ] && is_keeper "$(cat "$PID_FILE")" ;;
  esac
}

start_service() {
  if ! needs_restart && is_running; then return 0; fi
  case $init in
    systemd)
      systemctl enable --quiet "$NAME"
      systemctl restart "$NAME"
      ;;
    openrc)
      rc-update -q add "$NAME" default
      rc-service "$NAME" restart
      ;;
    none)
      stop_plain
      start_plain
      ;;
  esac
  rm -f "$RESTART_MARK"
}

# Not another process that has the number by now, nor one that has ended and that nobody has asked for.
is_keeper() { grep -q "$KEEPER" "/proc/$1/cmdline" 2>/dev/null; }

# Adds to `waited`, in tenths of a second. GNU's sleep and BusyBox's know parts of a second.
pause() {
  if sleep 0.2 2>/dev/null; then
    waited=$((waited + 2))
  else
    sleep 1
    waited=$((waited + 10))
  fi
}

start_plain() {
  : >"$LOG_FILE"
  chown "$NAME:$NAME" "$LOG_FILE"
  (cd / && exec setsid su -s /bin/sh "$NAME" -c "echo \$\$ && exec $KEEPER >>$LOG_FILE 2>&1") >"$PID_FILE" </dev/null 2>>"$LOG_FILE" &
  waited=0
  until is_running; do
    [ "$waited" -lt "${STOP_SECONDS}0" ] || fail "the agent could not be started: $(cat "$LOG_FILE")"
    pause
  done
}

stop_plain() {
  [ -f "$PID_FILE" ] || return 0
  pid=$(cat "$PID_FILE")
  if is_keeper "$pid"; then kill "$pid"; fi
  waited=0
  while is_keeper "$pid"; do
    if [ "$waited" -ge "${STOP_SECONDS}0" ]; then kill -9 "$pid" && break; fi
    pause
  done
  rm -f "$PID_FILE"
}

remove_service() {
  if [ -f "$UNIT" ]; then
    systemctl disable --quiet --now "$NAME" || say "note: systemd could not stop $NAME"
    rm -f "$UNIT"
    systemctl daemon-reload
  fi
  if [ -f "$RC_SCRIPT" ]; then
    rc-service "$NAME" stop || say "note: OpenRC could not stop $NAME"
    rc-update -q delete "$NAME" default || say "note: $NAME was in no runlevel"
    rm -f "$RC_SCRIPT"
  fi
  stop_plain
}

# --- the whole

is_enrolled() { [ -f "$STATE_DIR/agent.json" ]; }

# The token goes by stdin. The environment, which others might read, has none of it.
enroll() {
  set -- enroll --server "$SERVER" --token - --state-dir "$STATE_DIR"
  if [ -n "$host_name" ]; then set -- "$@" --name "$host_name"; fi
  for tag in $tags; do set -- "$@" --tag "$tag"; done
  printf '%s\n' "$token" | "$BIN" "$@"
}

own_state() {
  chown -R "$NAME:$NAME" "$STATE_DIR"
  chmod 700 "$STATE_DIR"
}

wait_until_connected() {
  waited=0
  until "$BIN" status --state-dir "$STATE_DIR" --json | grep -q '"connected": true'; do
    waited=$((waited + 1))
    [ "$waited" -le 20 ] || fail "the agent has started, but does not reach the server yet; it goes on trying. $(
      case $init in systemd) echo "journalctl -u $NAME" ;; *) echo "$LOG_FILE" ;; esac
    ) tells why. Hosts need the server's port for agents (8443 unless set otherwise) besides that of the API"
    sleep 1
  done
}

clean_up() { if [ -n "$work" ]; then rm -rf "$work"; fi; }

check_server() {
  [ -n "$SERVER" ] || fail 'which server is not known: take this script from a server, at /install.sh'
  [ -n "$sha256" ] ||
    fail "the server has no agent for linux/$arch; its administrator can make one by: npm run build:agent -- --target linux-$arch"
  check_clock
}

replace_executable() {
  if is_current; then
    say "$BIN is current"
  else
    download
    put_executable
  fi
}

do_install() {
  check_docker
  is_enrolled || [ -n "$token" ] || misused 'a token is needed: --token - reads it from stdin'
  check_server
  check_space
  check_executable
  if [ -n "$dry_run" ]; then
    if is_current; then say "would keep $BIN, which is current"; else say "would install the agent for linux/$arch as $BIN"; fi
    say "would make the user $NAME in the group ${socket_group:-$NAME}"
    if is_enrolled; then say "would keep the identity in $STATE_DIR"; else say "would enroll this host at $SERVER, with its identity in $STATE_DIR"; fi
    say "would start the agent by $init"
    return 0
  fi
  replace_executable
  make_user
  if is_enrolled; then say "this host is enrolled already; its token was not used"; else enroll; fi
  own_state
  write_environment
  write_service
  start_service
  wait_until_connected
  say "the agent runs and is connected; $NAME status says how it is"
  if [ "$init" = none ]; then
    say "no service manager was found: have this run whenever this machine has started: su -s /bin/sh $NAME -c $KEEPER"
  fi
}

do_upgrade() {
  [ -x "$BIN" ] || fail "$BIN is not installed"
  check_server
  check_executable
  if is_current && ! needs_restart; then
    say "$BIN is current"
    return 0
  fi
  is_current || check_space
  if [ -n "$dry_run" ]; then
    if is_current; then say "would keep $BIN"; else say "would replace $BIN"; fi
    say "would start the agent again by $init"
    return 0
  fi
  replace_executable
  write_service
  start_service
}

do_uninstall() {
  if [ -n "$dry_run" ]; then
    say "would stop the agent, take this host out of the mesh, and remove $BIN, $STATE_DIR, $ENV_FILE, the service and the user $NAME"
    return 0
  fi
  remove_service
  if is_enrolled && [ -x "$BIN" ]; then
    "$BIN" unenroll --state-dir "$STATE_DIR" ||
      say 'note: the server was not told that this host has left: remove it there'
  fi
  rm -rf "$BIN" "$(dirname "$KEEPER")" "$STATE_DIR" "$ENV_FILE" "$PID_FILE" "$LOG_FILE" "$RESTART_MARK"
  remove_user
  say 'the agent is removed'
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM
parse "$@"
recall_settings
check_machine
check_tools
"do_$action"
