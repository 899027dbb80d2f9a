#!/bin/sh
# Brings the real peers that the tests talk to: Debian packages, unpacked below target/peers.
# Nothing is installed, no service is started, the machine's own mail and news stay as they are.
# Exit 0: all are there. Exit 1 with a word on each that is missing.
set -u
cd "$(dirname "$0")/.."
top=target/peers
packages="uucp ncompress postfix"
missing=""

# Run by root, Taylor's programs become user uucp, who may not even read this folder. This keeps them who they are.
stay() {
    [ "$(id -u)" = 0 ] && [ ! -e $top/stay.so ] || return 0
    mkdir -p $top
    printf '#include <sys/types.h>\nint setuid(uid_t u){(void)u;return 0;}\nint seteuid(uid_t u){(void)u;return 0;}\nint setreuid(uid_t r,uid_t e){(void)r;(void)e;return 0;}\n' |
        cc -shared -fPIC -x c -o $top/stay.so - || echo "peers: no C compiler: Taylor UUCP cannot be run as root" >&2
}

have() {
    case $1 in
        uucp) [ -x $top/usr/lib/uucp/uucico ] ;;
        ncompress) [ -x $top/usr/bin/compress.ncompress ] || [ -x $top/usr/bin/compress ] ;;
        postfix) [ -x $top/usr/sbin/smtp-sink ] && [ -x $top/usr/sbin/smtp-source ] ;;
    esac
}

for package in $packages; do
    have "$package" || missing="$missing $package"
done
# What was unpacked runs as whoever runs the tests.
plain() {
    chmod -R u+rwX,go+rX $top
    for program in usr/lib/uucp/uucico usr/bin/uux usr/bin/uucp usr/bin/uustat usr/sbin/uuxqt; do
        [ ! -e $top/$program ] || chmod u-s,g-s $top/$program
    done
}

stay
[ -z "$missing" ] && exit 0

mkdir -p $top/debs
if ! command -v apt-get >/dev/null; then
    echo "peers: no apt-get here; cannot bring:$missing" >&2
    exit 1
fi
# The lists of a fresh machine are empty or old; only root can renew them.
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq >/dev/null 2>&1 || echo "peers: apt-get update failed; trying with the lists there are" >&2
fi
failed=""
for package in $missing; do
    (cd $top/debs && apt-get download -qq "$package" >/dev/null 2>&1)
    deb=$(ls -t $top/debs/"${package}"_*.deb 2>/dev/null | head -n 1)
    if [ -n "$deb" ] && dpkg -x "$deb" $top; then
        echo "peers: $package unpacked below $top"
    else
        failed="$failed $package"
    fi
done
plain
for package in $packages; do
    have "$package" || case " $failed " in *" $package "*) ;; *) failed="$failed $package" ;; esac
done
if [ -n "$failed" ]; then
    echo "peers: cannot be had:$failed (apt-get download failed: no network, or empty lists: run apt-get update as root)" >&2
    exit 1
fi
