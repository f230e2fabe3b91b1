# For the cases faults_* and healthy: states of one booted system, in each of which a real login is compared with --check.
# shellcheck shell=bash
#
#   fault NAME COLD WARM [by_hand]
#                            runs break_NAME, then checks that the login fails and that --check names the cause; undo_NAME, if defined,
#                            undoes what files_back does not
#   healthy NAME             runs vary_NAME, then checks that the login works and that no check fails or warns
#
# COLD: the check that names the cause before a login was tried. WARM: the same after one attempt. The check must fail, with exit
# status 1; `warn:ID` is a warning, `ID|ID` one of two checks, `-` means that no check can find the cause. If COLD is `rehearsal`, only
# a rehearsal finds it. If the report prints a command for COLD, the command must repair the login. `by_hand`: the command needs a
# network and is not run.
# shellcheck source=tests/packages/lib.sh
. /suite/lib.sh

# The files that most states change. undo_NAME restores others.
kept='etc/ssh/sshd_config etc/ssh/sshd_config.d etc/pam.d etc/security etc/default etc/hosts.deny etc/hosts.allow
    etc/nsswitch.conf etc/ssl/certs/ca-certificates.crt'
# A change of these files starts eic-keys-user.service, which looks up the AuthorizedKeysCommandUser.
accounts='passwd shadow group gshadow'
rows=0 wrong=0
: >"$work/table"

matrix_begin() {
    # Only this test restarts sshd so often.
    mkdir -p "/run/systemd/system/$(unit).d"
    printf '[Unit]\nStartLimitIntervalSec=0\n' >"/run/systemd/system/$(unit).d/limit.conf"
    systemctl daemon-reload
    install_package old
    rehearses=$(eic-keys --help | grep -c -e '--rehearse' || true)
    key pushed
    [ -e /etc/hosts.deny ] || : >/etc/hosts.deny
    # shellcheck disable=SC2046,SC2086 # words
    (cd / && tar -c -f "$work/kept.tar" $(ls -d $kept 2>/dev/null))
    mkdir "$work/accounts"
    # shellcheck disable=SC2086 # words
    (cd /etc && cp -p $accounts "$work/accounts/")
    quick || fail "a pushed key is not let in"
}

reload() { systemctl reload "$(unit)" && sleep 0.3; }
restart() { systemctl restart "$(unit)" && sleep 0.3; }
conf() { # LINES: adds them before all other settings
    printf '%s\n' "$@" >/etc/ssh/sshd_config.d/00-situation.conf
    reload
}
match() { # LINES: adds them at the end
    printf '%s\n' "$@" >>/etc/ssh/sshd_config
    reload
}
pam() { # LINE: adds an account line before the others, or a session line at the end
    case $1 in
    session*) printf '%s\n' "$1" >>/etc/pam.d/sshd ;;
    *) sed -i "0,/^@include common-account\|^account/s//$1\n&/" /etc/pam.d/sshd ;;
    esac
}
unit_file() { # LINES: writes a drop-in of sshd's unit
    mkdir -p "/etc/systemd/system/$(unit).d"
    printf '%s\n' '[Service]' "$@" >"/etc/systemd/system/$(unit).d/situation.conf"
    systemctl daemon-reload
    restart
}

files_back() {
    local file
    for file in $accounts; do
        if ! cmp -s "/etc/$file" "$work/accounts/$file"; then
            cp -p "$work/accounts/$file" /etc/
            sleep 0.2
        fi
    done
    # The unit that this starts can reload sshd.
    timeout 20 sh -c 'while systemctl -q is-active eic-keys-user.service; do sleep 0.1; done' || true
    rm -rf /etc/ssh/sshd_config.d /etc/ssh/revoked /etc/ssh/banner /etc/security/limits.d/situation.conf /etc/nologin /run/nologin
    tar -x -p -f "$work/kept.tar" -C /
    if [ -e "/etc/systemd/system/$(unit).d/situation.conf" ]; then
        rm -r "/etc/systemd/system/$(unit).d"
        systemctl daemon-reload
    fi
}

# Pushes a key again if it is about to expire. Not more often, because each record is examined.
pushed_at=-100
quick() { # one attempt with the pushed key, and the options of $client
    if [ $((SECONDS - pushed_at)) -gt 40 ]; then
        push alice pushed
        pushed_at=$SECONDS
    fi
    [ "$(timeout 10 ssh -F none -i "$work/pushed" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \
        -o UserKnownHostsFile=/dev/null "${client[@]}" alice@127.0.0.1 echo in </dev/null 2>"$work/quick.log" || true)" = in ]
}
client=()

report() { # NAME [OPTION]...: writes the report of --check to $work/NAME, one line for each check: STATUS ID KIND FIX
    local name=$1
    shift
    journalctl --sync 2>/dev/null || true
    code=0
    eic-keys --check alice --json "$@" >"$work/$name.log" 2>&1 || code=$?
    awk -F'": ' '
        /^ *"fix": / { fix = $0; sub(/^ *"fix": "?/, "", fix); sub(/"?,?$/, "", fix) }
        /^ *"fix_kind": / { kind = $2; gsub(/[",]/, "", kind) }
        /^ *"id": / { id = $2; gsub(/[",]/, "", id) }
        /^ *"status": / { status = $2; gsub(/[",]/, "", status); print status, id, kind, fix }' "$work/$name.log" >"$work/$name"
}
named() { # REPORT EXPECTED: whether the report has this result
    local status=fail
    case $2 in
    -) return 0 ;;
    warn:*) status='(warn|fail)' ;;
    esac
    grep -qE "^$status (${2#warn:}) " "$work/$1"
}
said() { # REPORT: its failures and warnings
    sed -n 's/^\(fail\|warn\) \([^ ]*\) .*/\1:\2/p' "$work/$1" | tr '\n' ' '
}

notes() { # REPORT: prints what it says of its failures and warnings
    grep -B 4 -E '^ *"status": "(fail|warn)"' "$work/$1.log" | grep -E '^ *"(id|note)": ' || true
}

row() { # NAME VERDICT TEXT
    rows=$((rows + 1))
    [ "$2" = ok ] || wrong=$((wrong + 1))
    printf '%-6s %-22s %s\n' "$2" "$1" "$3" | tee -a "$work/table"
}

# Restores the state in which the login works and no check fails or warns.
back() { # NAME
    local try
    ! declare -F "undo_$1" >/dev/null || "undo_$1" >/dev/null 2>&1 || true
    client=()
    files_back
    systemctl unmask -q "$(unit)" 2>/dev/null || true
    if systemctl -q is-active "$(unit)"; then reload || restart || true; else restart || true; fi
    for try in 1 2 3 4 5; do
        ! quick || return 0
        sleep 0.3
        [ "$try" != 3 ] || { restart && pushed_at=-100; }
    done
    fail "$1 is not undone"
}

fault() { # NAME COLD WARM
    local name=$1 cold=$2 warm=$3 problems='' command kind rehearsal=-
    "break_$name" >"$work/break.log" 2>&1 || true
    report cold
    local cold_code=$code
    if quick; then
        row "$name" BROKEN "the login works"
        back "$name"
        return
    fi
    report warm
    if [ "$cold" = rehearsal ]; then
        cold=-
        rehearsal=login.rehearsal
    fi
    named cold "$cold" || problems+=" cold: no $cold;"
    named warm "$warm" || problems+=" warm: no $warm;"
    if [ "$rehearses" != 0 ] && [ $rehearsal != - ]; then
        report rehearsed --rehearse
        named rehearsed $rehearsal || problems+=" rehearsed: no $rehearsal;"
    fi
    # If the report prints a command for the fault, the command must repair it.
    kind=$(awk -v id="^(${cold#warn:})\$" '$2 ~ id && $1 != "ok" { print $3; exit }' "$work/cold")
    if [ "$cold" != - ] && [ "$kind" = command ] && [ "${4:-}" != by_hand ]; then
        command=$(awk -v id="^(${cold#warn:})\$" '$2 ~ id && $1 != "ok" { sub(/^[^ ]* [^ ]* [^ ]* /, ""); print; exit }' "$work/cold" | sed 's/\\"/"/g; s/\\\\/\\/g')
        timeout 30 sh -c "$command" >"$work/fix.log" 2>&1 </dev/null || problems+=" '$command' fails;"
        sleep 0.5
        report fixed
        ! named fixed "$cold" || problems+=" '$command' leaves $cold;"
        # A second fault, such as sshd that does not run, has its own command.
        local next
        next=$(awk '$1 == "fail" && $3 == "command" { sub(/^[^ ]* [^ ]* [^ ]* /, ""); print; exit }' "$work/fixed" | sed 's/\\"/"/g; s/\\\\/\\/g')
        [ -z "$next" ] || { timeout 30 sh -c "$next" >>"$work/fix.log" 2>&1 </dev/null && sleep 0.5; } || true
        quick || problems+=" '$command' does not repair the login;"
    fi
    back "$name"
    local text
    text="cold $cold_code: $(said cold)| warm: $(said warm)"
    [ $rehearsal = - ] || text+=" (a rehearsal tells)"
    if [ -z "$problems" ]; then
        row "$name" ok "$text"
    else
        row "$name" WRONG "$problems $text"
        notes cold
    fi
}

healthy() { # NAME
    local problems=''
    "vary_$1" >"$work/set.log" 2>&1 || problems+=" it cannot be set;"
    quick || problems+=" the login fails: $(tail -n 1 "$work/quick.log");"
    report healthy
    # A record can expire during the check.
    ! named healthy warn:keys.records || { sleep 2 && report healthy; }
    [ -z "$(said healthy)" ] || problems+=" $(said healthy): $(sed -n 's/^ *"summary": //p' "$work/healthy.log")"
    [ "$code" = 0 ] || problems+=" exit $code;"
    if [ -z "$problems" ]; then
        row "$1" ok ""
    else
        row "$1" WRONG "$problems"
        notes healthy
    fi
    back "$1"
}

matrix_end() {
    echo "$rows situations, $wrong not as they should be"
    [ "$wrong" = 0 ] || fail "$wrong of $rows situations: $(grep -v '^ok' "$work/table" | tr -s ' \n' ' ')"
}
