# The service of what is installed, of systemd, of OpenRC and of neither: for install-common.sh.
# shellcheck shell=sh

# What the service runs, KEY=VALUE for its environment, where it may write, and behind what it starts: to be set before
# write_service.
service_command=
service_settings=
service_paths=
service_after=
service_capabilities=
init=

# What was used before, or else what runs here.
find_init() {
  if [ -n "$init" ]; then
    case $init in systemd | openrc | none) ;; *) misused "--init is systemd, openrc or none, not $init" ;; esac
  elif [ -f "$UNIT" ]; then
    init=systemd
  elif [ -f "$RC_SCRIPT" ]; then
    init=openrc
  elif [ -f "$KEEPER" ]; then
    init=none
  elif [ -d /run/systemd/system ]; then
    init=systemd
  elif [ -d /run/openrc ]; then
    init=openrc
  else
    init=none
  fi
}

check_init() {
  case $init in
    systemd) { have systemctl && [ -d /run/systemd/system ]; } || fail 'systemd does not run here: --init openrc or --init none' ;;
    openrc) { have rc-service && [ -d /run/openrc ]; } || fail 'OpenRC does not run here: --init systemd or --init none' ;;
  esac
}

# Starts, keeps and stops the program where systemd does not. OpenRC has it do that, too: its start-stop-daemon is not the same
# everywhere, and Debian's does not find a script that it has started.
write_keeper() {
  put "$KEEPER" 755 <<TEXT
#!/bin/sh
# Runs the $TITLE, and again when it has failed, until it is stopped or says that it must stay down.
# As root: keep-running start | stop | status
readonly NAME=$NAME
readonly COMMAND='$service_command'
readonly STAY_DOWN='0 $STAY_DOWN'
readonly SETTINGS='$service_settings'
readonly ENV_FILE=$ENV_FILE
readonly KEEPER=$KEEPER
readonly PID_FILE=$PID_FILE
readonly LOG_FILE=$LOG_FILE
readonly STOP_SECONDS=$STOP_SECONDS
$(keeper_body)
TEXT
}

keeper_body() {
  cat <<'TEXT'
umask 077

# Not another process that has the number by now, nor one that has ended and that nobody has asked for.
is_running() { [ -f "$PID_FILE" ] && grep -q "$KEEPER" "/proc/$(cat "$PID_FILE")/cmdline" 2>/dev/null; }

# Adds to `waited`, in tenths of a second. GNU's sleep and BusyBox's know parts of a second.
pause() {
  if sleep 0.2 2>/dev/null; then
    waited=$((waited + 2))
  else
    sleep 1
    waited=$((waited + 10))
  fi
}

# Nothing cuts the log: only warnings go into it, and it begins anew with each start.
start() {
  if is_running; then return 0; fi
  : >"$LOG_FILE"
  chown "$NAME:$NAME" "$LOG_FILE"
  (cd / && exec setsid su -s /bin/sh "$NAME" -c "echo \$\$ && exec $KEEPER") >"$PID_FILE" </dev/null 2>>"$LOG_FILE" &
  waited=0
  until is_running; do
    if [ "$waited" -ge "${STOP_SECONDS}0" ]; then
      LC_ALL=C tr -c ' -~\n' '?' <"$LOG_FILE" >&2
      return 1
    fi
    pause
  done
}

stop() {
  waited=0
  if is_running; then kill "$(cat "$PID_FILE")"; fi
  while is_running; do
    if [ "$waited" -ge "${STOP_SECONDS}0" ]; then kill -9 "$(cat "$PID_FILE")" && break; fi
    pause
  done
  rm -f "$PID_FILE"
}

keep_running() {
  exec >>"$LOG_FILE" 2>&1
  set -a
  for setting in $SETTINGS; do eval "${setting%%=*}=\${setting#*=}"; done
  . "$ENV_FILE"
  FAIRLEAD_LOG_LEVEL=${FAIRLEAD_LOG_LEVEL:-warn}
  set +a
  stopped=
  child=
  trap 'stopped=yes; if [ -n "$child" ]; then kill "$child" 2>/dev/null; fi' TERM INT HUP
  while [ -z "$stopped" ]; do
    $COMMAND &
    child=$!
    # A signal ends the first wait; the program ends in its own time.
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do
      wait "$child"
      code=$?
    done
    for each in $STAY_DOWN; do if [ "$code" = "$each" ]; then exit "$code"; fi; done
    sleep 5 &
    child=$!
    wait "$child"
  done
}

case ${1-} in
  start | stop) "$1" ;;
  status) is_running || exit 3 ;;
  *) keep_running ;;
esac
TEXT
}

write_unit() {
  put "$UNIT" 644 <<TEXT
[Unit]
Description=$TITLE
Wants=network-online.target
After=network-online.target $service_after

[Service]
Type=exec
ExecStart=$service_command
$(for pair in $service_settings; do say "Environment=$pair"; done)
EnvironmentFile=-$ENV_FILE
User=$NAME
Group=$NAME
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=$STAY_DOWN
TimeoutStopSec=$STOP_SECONDS
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=$service_capabilities
AmbientCapabilities=$service_capabilities
ProtectSystem=strict
ReadWritePaths=$service_paths
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
KeyringMode=private
RemoveIPC=yes

[Install]
WantedBy=multi-user.target
TEXT
}

write_rc_script() {
  put "$RC_SCRIPT" 755 <<TEXT
#!/sbin/openrc-run
description="$TITLE"

depend() {
  use net
  after firewall $service_after
}

start() {
  ebegin "Starting the $TITLE"
  $KEEPER start
  eend \$?
}

stop() {
  ebegin "Stopping the $TITLE"
  $KEEPER stop
  eend \$?
}

status() {
  if $KEEPER status; then
    einfo "status: started"
  elif service_started; then
    eerror "status: crashed"
    return 32
  else
    einfo "status: stopped"
    return 3
  fi
}
TEXT
}

# Nothing else starts it from then on.
write_service() {
  if [ "$init" != systemd ]; then remove_unit; fi
  if [ "$init" != openrc ]; then remove_rc_script; fi
  case $init in
    systemd)
      remove_keeper
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
    none) [ -x "$KEEPER" ] && "$KEEPER" status ;;
  esac
}

# Whether it has ended for good: with systemd what is about to be started again is not running either.
has_ended() {
  case $init in
    systemd) case $(systemctl is-active "$NAME") in failed | inactive) ;; *) return 1 ;; esac ;;
    *) ! is_running ;;
  esac
}

# Tells nothing of why it fails: the service's log does.
start_service() {
  if ! needs_restart && is_running; then return 0; fi
  case $init in
    systemd) systemctl enable --quiet "$NAME" && systemctl restart "$NAME" ;;
    openrc) rc-update -q add "$NAME" default && rc-service "$NAME" restart ;;
    none) stop_plain && start_plain ;;
  esac || return 1
  rm -f "$RESTART_MARK"
}

stop_service() {
  case $init in
    systemd) [ ! -f "$UNIT" ] || systemctl stop "$NAME" ;;
    openrc) ! is_running || rc-service "$NAME" stop ;;
    none) stop_plain ;;
  esac
}

start_plain() { "$KEEPER" start; }
stop_plain() { if [ -x "$KEEPER" ]; then "$KEEPER" stop; fi; }

remove_unit() {
  [ -f "$UNIT" ] || return 0
  systemctl disable --quiet --now "$NAME" || say "note: systemd could not stop $NAME"
  rm -f "$UNIT"
  systemctl daemon-reload || say 'note: systemd could not be told of it'
}

remove_rc_script() {
  [ -f "$RC_SCRIPT" ] || return 0
  rc-service "$NAME" stop || say "note: OpenRC could not stop $NAME"
  rc-update -q delete "$NAME" default || say "note: $NAME was in no runlevel"
  rm -f "$RC_SCRIPT"
}

remove_keeper() {
  [ -f "$KEEPER" ] || return 0
  stop_plain
  rm -f "$KEEPER" "$PID_FILE" "$LOG_FILE"
}

remove_service() {
  remove_unit
  remove_rc_script
  remove_keeper
  rm -f "$RESTART_MARK"
}

# Where the service says what is wrong with it.
log_hint() {
  case $init in
    systemd) say "journalctl -u $NAME" ;;
    *) say "$LOG_FILE" ;;
  esac
}

# Of what it runs, without what would do something to root's terminal.
last_words() {
  case $init in
    systemd) journalctl -u "$NAME" -n 4 --no-pager -o cat 2>/dev/null ;;
    *) tail -n 4 "$LOG_FILE" ;;
  esac | tr -d '\000-\010\013-\037\177'
}
