# Functions for the cases. bash runs them as root in the tested system: a booted container, a virtual machine, or this machine.
# shellcheck shell=bash disable=SC2034
# $KIND: deb or rpm. /packages/old and /packages/new: the packages in two versions; /packages/others: see versions.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
work=$(mktemp -d)
chmod 755 "$work"

journal() { # OPTION...: after a sync, if journalctl supports it
    journalctl --sync 2>/dev/null || true
    journalctl -q --no-pager "$@"
}

fail() {
    echo "FAILED: $*" >&2
    for log in "$work"/*.log; do
        [ ! -e "$log" ] || { echo "--- ${log##*/}" && sed -e 's,\r$,,' -e 's,.*\r,,' -e '/^(Reading database/d' "$log" | tail -n 30; } >&2
    done
    echo "--- journal" >&2
    journal -n 25 -o short >&2 || true
    exit 1
}

is() { # IS WHAT GOT EXPECTED
    [ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"
}

says() { # LOG WORDS: fails unless the output of the last command contains WORDS
    grep -qF -- "$2" "$work/$1.log" || fail "'$2' is not in the output of $1"
}

# --- the system

unit() { # the name of sshd's unit: ssh on Debian, sshd elsewhere
    if systemctl cat ssh.service >/dev/null 2>&1; then echo ssh.service; else echo sshd.service; fi
}

# All files that an installation could leave or change, except those of the package manager and the daemons.
snapshot() { # NAME
    {
        find /etc /usr/lib/systemd /usr/lib/sysusers.d /usr/bin /usr/share /opt /var/lib \( -path /var/lib/dpkg -o -path /var/lib/rpm \
            -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /usr/lib/sysimage -o -path /var/lib/dnf -o -path /var/lib/yum \
            -o -path /etc/.pwd.lock -o -name '*.pyc' \) -prune -o -printf '%p %y %m %U %G %l\n'
        find /etc/ssh /etc/systemd /etc/pam.d /etc/default -type f -exec sha256sum {} +
        sha256sum /etc/passwd /etc/group /etc/shadow /etc/gshadow
    } 2>/dev/null | grep -vE '^[^ ]*/etc/(passwd|group|shadow|gshadow|subuid|subgid)-? ' | sort >"$work/$1"
    sort /etc/passwd /etc/group >"$work/$1.users"
}

same() { # AS NAME: fails if a file differs from that snapshot
    snapshot now
    diff "$work/$1" "$work/now" >"$work/difference.log" || fail "not as $1"
}

config() { # sshd's configuration, every byte of it
    find /etc/ssh -type f ! -name 'ssh_host_*' -exec sh -c 'ls -ln --time-style=+ "$1"; cat "$1"' sh {} \; 2>/dev/null
}

effective() { # KEYWORD: the effective value for alice
    mkdir -p /run/sshd # Debian's sshd wants it before it reads anything; while sshd does not run it is not there
    sshd -T -C user=alice,host=localhost,addr=127.0.0.1 2>/dev/null | sed -n "s/^$1 //Ip"
}

enabled() {
    case $(effective authorizedkeyscommand) in
    "/usr/bin/eic-keys %u %f"*) is "AuthorizedKeysCommandUser" "$(effective authorizedkeyscommanduser)" eic-keys ;;
    *) return 1 ;;
    esac
}

# Makes an image that was never booted: the first boot creates its host keys before sshd starts, as cloud-init does.
without_host_keys() {
    rm -f /etc/ssh/ssh_host_*
    cat >/etc/systemd/system/first-keys.service <<'END'
[Unit]
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
[Install]
WantedBy=multi-user.target
END
    systemctl enable -q first-keys.service
}

# What an image builder has, so that nothing starts in its image.
no_daemons() {
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
}

nothing_alarming() { # LOG: of an installation that succeeds
    ! grep -iE 'warning|error|fail|cannot|could not|unable|denied|refuse|not set up|no such' "$work/$1.log" >"$work/alarming.log" || fail "an alarming line"
}

# What an installation leaves in an image: the lines in sshd's configuration, and no note of this machine.
nothing_of_the_builder() { # [ROOT]
    ! ls "${1:-}"/etc/ssh/ssh_host_* >/dev/null 2>&1 || fail "host keys are in the image"
    find "${1:-}/run" "${1:-}/tmp" "${1:-}/var/tmp" "${1:-}/var/lib/eic-keys" "${1:-}/etc/ssh" -newer "${1:-}/root/before" -type f ! -path "$work/*" 2>/dev/null |
        sed "s,^${1:-},," | grep -vxE '/etc/ssh/sshd_config.d/[^/]*eic-keys.conf|/var/lib/eic-keys/(enabled|user|group)|/run/mount/utab' >"$work/left.log" || return 0
    fail "the image has what is the builder's"
}

booted() { # waits until all is started that a boot starts
    local state
    state=$(timeout 120 systemctl is-system-running --wait) || [ "$state" = degraded ] || fail "the boot ends: $state"
    is "units that failed" "$(systemctl list-units --failed --plain --no-legend --type=service)" ""
}

# --- the package

apt_install() { # DIRECTORY PACKAGE...: from a local repository
    echo "deb [trusted=yes] file:$1 ./" >"$work/sources.list"
    apt-get -o Dir::Etc::SourceList="$work/sources.list" update -qq &&
        apt-get -o Dir::Etc::SourceList="$work/sources.list" install -y --no-install-recommends "${@:2}"
}

install_extra() { # PACKAGE...: fetched by `extra`
    local package
    for package; do
        apt-get install -y --no-install-recommends "/packages/extra/$(. /etc/os-release && echo "$VERSION_CODENAME")/$package"/*.deb \
            >"$work/extra.log" 2>&1 || fail "$package"
    done
}

# Our packages, with the SELinux module if SELinux enforces.
names=(eic-keys ${WITH_MODULE:+eic-keys-selinux})

rpms() { # VERSION
    local name
    for name in "${names[@]}"; do
        echo "/packages/$1/$name"-[0-9]*.rpm
    done
}

# Debian's rpm has no record of the installed packages.
rpm_install() { # VERSION [OPTION]...
    local others
    rpm -q --quiet bash || others=--nodeps
    # shellcheck disable=SC2046 # a list of files
    rpm -U ${others:-} "${@:2}" $(rpms "$1")
}

install_package() { # VERSION, old or new
    case $KIND in
    deb) apt_install "/packages/$1" "${names[@]}" ;;
    rpm) rpm_install "$1" ;;
    esac >"$work/install.log" 2>&1 || fail "installation"
}

remove_package() {
    case $KIND in
    deb) apt-get remove -y "${names[@]}" ;;
    rpm) rpm -e "${names[@]}" ;;
    esac >"$work/remove.log" 2>&1 || fail "removal"
}

purge_package() {
    case $KIND in
    deb) apt-get purge -y "${names[@]}" ;;
    rpm) ! rpm -q eic-keys || rpm -e "${names[@]}" ;;
    esac >"$work/purge.log" 2>&1 || fail "purge"
}

# --- AWS's package: an imitation, or the real one

theirs=ec2-instance-connect

installed() { # PACKAGE
    case $KIND in
    deb) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    rpm) rpm -q --quiet "$1" ;;
    esac
}

install_theirs() {
    # AWS's scripts restart sshd. Only a test restarts it so often, so systemd must not count these restarts against its limit.
    mkdir -p "/run/systemd/system/$(unit).d"
    printf '[Unit]\nStartLimitIntervalSec=0\n' >"/run/systemd/system/$(unit).d/limit.conf"
    systemctl daemon-reload
    case $KIND in
    deb) apt_install /packages/both $theirs ;;
    rpm)
        rpm -q --quiet bash || rpm -q --quiet system || rpm -U --nodeps /packages/others/{system,openssh-server}-*.rpm
        rpm -U /packages/others/$theirs-*.rpm
        ;;
    esac >"$work/theirs.log" 2>&1 || fail "AWS's package"
}

# Adds AWS's lines at the end of sshd_config, as in the images of Amazon Linux.
set_their_lines() {
    local directory=/opt/aws/bin
    [ "$KIND" = rpm ] || directory=/usr/share/$theirs
    grep -q '^AuthorizedKeysCommand .*/eic_run_authorized_keys' /etc/ssh/sshd_config ||
        printf '\nAuthorizedKeysCommand %s/eic_run_authorized_keys %%u %%f\nAuthorizedKeysCommandUser %s\n' $directory $theirs >>/etc/ssh/sshd_config
    systemctl reload "$(unit)"
}

override_file() { # where AWS's package overrides sshd's unit
    case $KIND in
    deb) echo /lib/systemd/system/ssh.service.d/$theirs.conf ;;
    rpm) echo /lib/systemd/system/sshd.service.d/$theirs.conf ;;
    esac
}

sets_theirs() {
    case $(effective authorizedkeyscommand)$(tr '\0' ' ' </proc/"$(systemctl show -p MainPID "$(unit)" | cut -d= -f2)"/cmdline) in
    */eic_run_authorized_keys*) ;;
    *) return 1 ;;
    esac
}

take_ours() { # by the commands of README.md
    case $KIND in
    deb) apt-get install -y --no-install-recommends /packages/old/eic-keys_*.deb ;;
    rpm)
        if command -v dnf >/dev/null; then
            # shellcheck disable=SC2046 # a list of files
            dnf -y --setopt=reposdir=/none --releasever=1 install --allowerasing $(rpms old)
        else
            # shellcheck disable=SC2046
            yum -y --disablerepo='*' swap -- remove $theirs -- install $(rpms old)
        fi
        ;;
    esac >"$work/ours.log" 2>&1 || fail "the swap"
}

take_theirs() { # likewise; apt takes it from a repository that has both
    case $KIND in
    deb) apt_install /packages/both $theirs ;;
    rpm) dnf -y --setopt=reposdir=/none --releasever=1 install --allowerasing /packages/others/$theirs-*.rpm ;;
    esac >"$work/back.log" 2>&1 || fail "the swap back"
}

# Requires AWS's package. Replaces it with eic-keys and back, twice; then removes eic-keys.
swap_twice() {
    local before round
    before=$(config)
    for round in first second; do
        take_ours
        ! installed $theirs || fail "AWS's package is still there, $round time"
        ! getent passwd $theirs || fail "AWS's user is still there"
        [ ! -e "$(override_file)" ] || fail "AWS's override is still there"
        enabled || fail "sshd does not run eic-keys, $round time"
        is "what counts" "$(effective authorizedkeyscommand)" "/usr/bin/eic-keys %u %f"
        pushed_login_works
        swapped=$(config)
        eic-keys --enable >"$work/enable.log" 2>&1 || fail "--enable"
        is "--enable changes nothing more" "$(config)" "$swapped"
        take_theirs
        ! installed eic-keys || fail "eic-keys is still there"
        installed $theirs || fail "AWS's package is not there"
        is "the configuration is as it was" "$(config)" "$before"
        sets_theirs || fail "AWS's command does not count again"
    done
    take_ours
    purge_package
    is "the configuration is as it was" "$(config)" "$before"
    [ "$KIND" = rpm ] || apt-get purge -y $theirs >"$work/gone.log" 2>&1 || fail "AWS's package does not go"
    ordinary_login_works
}

# --- logins

key() { # NAME: makes a key pair
    ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$work/$1"
}

push() { # USER NAME [NAME=VALUE]... [forged]: pushes the key, for 60 seconds; metadata of the record, like Caller=ARN
    local answer
    exec 3<>"/dev/tcp/${LAB:-127.0.0.1}/8079"
    echo "$1 $(cut -d' ' -f1,2 "$work/$2.pub") ${*:3}" >&3
    read -r -t 60 answer <&3 || fail "the laboratory takes no key"
    exec 3>&-
    is "push" "$answer" pushed
}

# sshd does not listen for a moment during a reload, and the machine can be busy.
login() { # USER NAME [COMMAND]
    timeout "${patience:-300}" ssh -v -E "$work/ssh.log" -o ConnectionAttempts=10 -F none -i "$work/$2" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null "$1@127.0.0.1" "${@:3}"
}

# Pushes a key and logs in. Tries again only if the run reached its time limit, as on a busy machine.
pushed_login() { # USER NAME
    local since
    for _ in 1 2 3 4 5; do
        since=$(date '+%F %T')
        push "$1" "$2"
        [ "$(login "$1" "$2" echo in || echo out)" != in ] || return 0
        journal -t eic-keys --since "$since" -o cat | grep -q 'in time' || return 1
    done
    return 1
}

pushed_login_works() {
    rm -f "$work"/pushed "$work"/pushed.pub
    key pushed
    is "a key that is not pushed" "$(login alice pushed echo in || echo out)" out
    pushed_login alice pushed || fail "a pushed key is not let in"
    is "alice's key, for bob" "$(login bob pushed echo in || echo out)" out
}

pushed_login_fails() {
    rm -f "$work"/pushed "$work"/pushed.pub
    key pushed
    push alice pushed
    is "a pushed key" "$(login alice pushed echo in || echo out)" out
}

ordinary_login_works() { # a key of alice's authorized_keys
    [ -e "$work/own" ] || key own
    install -d -o alice -g alice -m 700 /home/alice/.ssh
    install -o alice -g alice -m 600 "$work/own.pub" /home/alice/.ssh/authorized_keys
    is "a key in authorized_keys" "$(login alice own echo in || echo out)" in
    rm -r /home/alice/.ssh
}

# Sets another AuthorizedKeysCommand, similar to SSSD's, that prints one key for alice.
other_command() {
    [ -e "$work/other" ] || key other
    cp "$work/other.pub" /etc/other-keys
    printf '#!/bin/sh\n[ "$1" != alice ] || exec cat /etc/other-keys\n' >/usr/bin/sss_ssh_authorizedkeys
    chmod 755 /usr/bin/sss_ssh_authorizedkeys
}

other_login_works() {
    is "the other command's key" "$(login alice other echo in || echo out)" in
}

# Opens a session, which is checked again later.
open_session() {
    [ -e "$work/own" ] || key own
    install -d -o alice -g alice -m 700 /home/alice/.ssh
    install -o alice -g alice -m 600 "$work/own.pub" /home/alice/.ssh/authorized_keys
    mkfifo "$work/in" "$work/out"
    patience=0 login alice own cat <"$work/in" >"$work/out" &
    exec 4>"$work/in" 5<"$work/out"
    session_lives
}

session_lives() {
    local line said=$RANDOM
    echo $said >&4
    read -r -t 60 line <&5 || fail "the open session is gone"
    is "the open session" "$line" $said
}

close_session() {
    exec 4>&- 5<&-
    rm -r /home/alice/.ssh
}

daemon() { # what is another after a restart, and the same after a reload
    systemctl show -p MainPID -p ExecMainStartTimestampMonotonic "$(unit)"
}

# The unit changes the configuration, then reloads sshd, then ends.
user_becomes() { # USER: waits until this is the effective AuthorizedKeysCommandUser
    for _ in $(seq 120); do
        if [ "$(effective authorizedkeyscommanduser)" = "$1" ] &&
            [ "$(systemctl show -p ActiveState eic-keys-user.service)" = ActiveState=inactive ]; then
            return 0
        fi
        sleep 1
    done
    fail "AuthorizedKeysCommandUser is not $1"
}

reloads() { # how often sshd was reloaded
    journal -u "$(unit)" -o cat | grep -c '^Reloading \|^Reloaded ' || true
}
