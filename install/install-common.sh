# What install.sh and install-server.sh have in common: users, files, settings and, in a file of its own, the service. Both name
# before what they install (NAME, TITLE), themselves (SCRIPT), and the exit codes after which it must stay down (STAY_DOWN).
# shellcheck shell=sh

readonly KEEPER="/usr/local/lib/$NAME/keep-running"
readonly ENV_FILE="/etc/default/$NAME"
readonly UNIT="/etc/systemd/system/$NAME.service"
readonly RC_SCRIPT="/etc/init.d/$NAME"
readonly PID_FILE="/run/$NAME.pid"
readonly LOG_FILE="/var/log/$NAME.log"
# Is there from before something changes that the service takes up when it starts until it has started: whoever kills this
# script in between leaves it to the next run. It goes with what runs.
readonly RESTART_MARK="/run/$NAME.restart"
readonly STOP_SECONDS=15

say() { printf '%s\n' "$*"; }
# What may stand in a text of somebody else's: anything but printable ASCII could drive root's terminal.
harmless() { LC_ALL=C tr -c ' -~\n' '?'; }
fail() {
  printf '%s: %s\n' "$SCRIPT" "$*" | harmless >&2
  exit 1
}
misused() {
  printf '%s: %s; --help shows the options\n' "$SCRIPT" "$*" >&2
  exit 2
}
have() { command -v "$1" >/dev/null 2>&1; }

is_plain() {
  case $1 in '' | *[!]A-Za-z0-9:/.,=_@%+*[-]*) return 1 ;; esac
}

# They go into files that shells and systemd read, and into lists.
require_plain() {
  is_plain "$2" || misused "$1 is empty or has characters that stand in no name or address"
}

# --- what is here

# Sets `arch`, by the name that Node has for it.
# shellcheck disable=SC2034 # each script reads it
find_machine() {
  [ "$(id -u)" = 0 ] || fail 'this needs root: put sudo before sh'
  [ "$(uname -s)" = Linux ] || fail "there is no installer for $(uname -s): run the $TITLE from a checkout there"
  case $(uname -m) in
    x86_64 | amd64) arch=x64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) fail "there is no $TITLE for the architecture $(uname -m): there is one for x86_64 and for aarch64" ;;
  esac
}

require_tools() {
  for tool in "$@"; do
    have "$tool" || fail "$tool is not here: install the basic tools of this system (coreutils, util-linux, gzip and awk, or busybox)"
  done
}

# require_space FOLDER KIB
require_space() {
  dir=$1
  # What is not there yet is made in the file system of what is.
  while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
  free=$(df -Pk "$dir" | awk 'END { print $4 }')
  [ "$free" -ge "$2" ] || fail "there is too little space in $1: $((free / 1024)) MiB are free, and $(($2 / 1024)) are needed"
}

# --- files

mark_restart() {
  make_folder "$(dirname "$RESTART_MARK")"
  : >"$RESTART_MARK" || fail "$RESTART_MARK cannot be written"
}
needs_restart() { [ -e "$RESTART_MARK" ]; }

make_folder() { [ -d "$1" ] || (umask 022 && mkdir -p "$1"); }

is_same() { [ -f "$2" ] && [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]; }

# put FILE MODE: what stands on stdin becomes the file, whole, unless it is that already.
put() {
  make_folder "$(dirname "$1")"
  if ! { cat >"$1.new" && chmod "$2" "$1.new"; }; then
    rm -f "$1.new"
    fail "$1 cannot be written"
  fi
  if is_same "$1.new" "$1"; then
    rm -f "$1.new"
  else
    mark_restart
    mv -f "$1.new" "$1" || fail "$1 cannot be replaced"
  fi
}

# put_link LINK TARGET
put_link() {
  if [ "$(readlink "$1")" = "$2" ]; then return 0; fi
  make_folder "$(dirname "$1")"
  # Not into a folder that it may lead to.
  rm -f "$1"
  ln -s "$2" "$1"
}

setting() { if [ -f "$ENV_FILE" ]; then sed -n "s/^$1=//p" "$ENV_FILE"; fi; }

# put_settings KEY=VALUE...: what the service is told, with whatever else its administrator has put there; none without a value.
# Only root and the program read it: a proxy's address may hold a password.
put_settings() {
  settings=$(
    for pair; do case $pair in *=) ;; *) say "$pair" ;; esac; done
    if [ -f "$ENV_FILE" ]; then other_lines "$@" <"$ENV_FILE"; fi
  )
  put "$ENV_FILE" 640 <<TEXT
$settings
TEXT
  chgrp "$NAME" "$ENV_FILE"
}

# plan_settings KEY=VALUE...: says what put_settings would change, without values, which may hold a password.
plan_settings() {
  for pair; do
    if [ "$(setting "${pair%%=*}")" != "${pair#*=}" ]; then say "would set ${pair%%=*} in $ENV_FILE"; fi
  done
}

# Lines of stdin that set none of what is given as KEY=VALUE.
other_lines() {
  while IFS= read -r line || [ -n "$line" ]; do
    is_other=$line
    for pair; do if [ "${line%%=*}" = "${pair%%=*}" ]; then is_other=; fi; done
    if [ -n "$is_other" ]; then say "$line"; fi
  done
}

# --- who it runs as

has_user() { grep -q "^$NAME:" /etc/passwd; }
has_group() { grep -q "^$1:" /etc/group; }

# make_user HOME
make_user() {
  has_group "$NAME" || if have groupadd; then groupadd --system "$NAME"; else addgroup -S "$NAME"; fi
  has_user || if have useradd; then
    useradd --system --gid "$NAME" --home-dir "$1" --no-create-home --shell /bin/false "$NAME"
  else
    adduser -S -D -H -h "$1" -s /bin/false -G "$NAME" "$NAME"
  fi
}

remove_user() {
  end_processes
  if has_user; then if have userdel; then userdel "$NAME"; else deluser "$NAME"; fi; fi
  if has_group "$NAME"; then if have groupdel; then groupdel "$NAME"; else delgroup "$NAME"; fi; fi
}

# Runs a line of shell as the program's user: what that user may have changed, root never runs. In a session of its own, since it
# could type into root's terminal. A child of this script leads no process group, so that setsid does not fork and is waited for.
as_user() { (exec setsid su -s /bin/sh "$NAME" -c "set -f; cd /; $1"); }

# What still runs of the user.
user_processes() {
  here=$(stat -Lc %d:%i /)
  find /proc -maxdepth 1 -user "$NAME" 2>/dev/null | while IFS= read -r process; do
    # Containers may have users of the same number. In a container that this runs in, their roots may be nobody's to see.
    root=$(stat -Lc %d:%i "$process/root" 2>/dev/null) || root=$here
    if [ "$root" = "$here" ]; then say "${process#/proc/}"; fi
  done
}

end_processes() {
  has_user || return 0
  waited=0
  while pids=$(user_processes) && [ -n "$pids" ]; do
    signal=TERM
    if [ "$waited" -ge "$STOP_SECONDS" ]; then signal=KILL; fi
    [ "$waited" -lt "$((STOP_SECONDS * 2))" ] || fail "processes of $NAME do not end: $pids"
    # One may have ended by itself.
    for pid in $pids; do kill -s "$signal" "$pid" 2>/dev/null || :; done
    sleep 1
    waited=$((waited + 1))
  done
}

# own FOLDER: it and all that is in it are the user's. Links are not followed. Nothing of the user runs meanwhile, which could put
# something else there.
own() {
  make_folder "$(dirname "$1")"
  [ -d "$1" ] || mkdir -m 700 "$1"
  if [ -n "$(find "$1" ! -user "$NAME" | head -n 1)" ]; then
    refuse_shared "$1"
    stop_service
    end_processes
    refuse_shared "$1"
    find "$1" ! -user "$NAME" \( -type d -o -links 1 \) -exec chown -h "$NAME:$NAME" {} +
  fi
  chmod 700 "$1"
}

# refuse_shared FOLDER: no file of another's that is also elsewhere, where the user would then own it, too.
refuse_shared() {
  shared=$(find "$1" ! -user "$NAME" ! -type d -links +1 | head -n 1)
  [ -z "$shared" ] ||
    fail "$shared is not the file of $NAME alone: it is a hard link of another user's file. Put a copy in its place, or remove it, and run this again"
}

# shellcheck source=install/install-service.sh
. "$(dirname "$0")/install-service.sh"
