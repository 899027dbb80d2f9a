#!/bin/sh
# Starts a private Postfix and a private INN on loopback, if they are installed and we are root; runs the command
# given with their addresses in the environment; stops them. What is missing is named and left out.
set -u
folder=$(mktemp -d /tmp/bangpath-bench-XXXXXX)
chmod 755 "$folder"

stop() {
    [ ! -e "$folder/postfix/main.cf" ] || postfix -c "$folder/postfix" stop >/dev/null 2>&1
    if [ -e "$folder/inn/run/innd.pid" ]; then
        innd=$(cat "$folder/inn/run/innd.pid")
        kill "$innd" 2>/dev/null
        for _ in 1 2 3 4 5; do kill -0 "$innd" 2>/dev/null && sleep 1; done
        kill -9 "$innd" 2>/dev/null
    fi
    rm -rf "$folder"
}
trap stop EXIT

if [ "$(id -u)" = 0 ] && [ "${PEERS:-}" = install ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postfix inn2 >/dev/null 2>&1
    rm -f /usr/sbin/policy-rc.d
fi

if [ "$(id -u)" = 0 ] && command -v postfix >/dev/null; then
    mkdir -p "$folder/postfix" "$folder/queue" "$folder/data"
    chown postfix "$folder/data"
    cat > "$folder/postfix/main.cf" <<X
queue_directory = $folder/queue
data_directory = $folder/data
maillog_file = $folder/maillog
maillog_file_prefixes = $folder
daemon_directory = /usr/lib/postfix/sbin
inet_interfaces = 127.0.0.1
alias_maps =
compatibility_level = 3.6
default_transport = discard:
mynetworks = 127.0.0.0/8
X
    { echo "127.0.0.1:12525 inet n - n - - smtpd"
      grep -vE '^(smtp|submission|smtps)[[:space:]]+inet' /usr/share/postfix/master.cf.dist |
          awk '/^[a-z0-9].*(unix|fifo)/ { $5 = "n" } { print }'
    } > "$folder/postfix/master.cf"
    if postfix -c "$folder/postfix" start >/dev/null 2>&1; then
        export BANGPATH_BENCH_POSTFIX=127.0.0.1:12525
    else
        echo "bench: Postfix does not start" >&2
    fi
else
    echo "bench: no Postfix (install it, or PEERS=install as root)" >&2
fi

if [ "$(id -u)" = 0 ] && [ -x /usr/lib/news/bin/innd ]; then
    inn=$folder/inn
    mkdir -p $inn/etc $inn/db $inn/log $inn/run $inn/spool $inn/tmp
    cp -r /etc/news/* $inn/etc/
    cat > $inn/etc/inn.conf <<X
domain: example.net
pathhost: inn.example.net
mta: "/bin/true"
ovmethod: tradindexed
hismethod: hisv6
artcutoff: 0
pathnews: /usr/lib/news
pathbin: /usr/lib/news/bin
pathfilter: $inn/etc
pathetc: $inn/etc
pathdb: $inn/db
pathlog: $inn/log
pathrun: $inn/run
pathspool: $inn/spool
patharticles: $inn/spool/articles
pathoverview: $inn/spool/overview
pathincoming: $inn/spool/incoming
pathoutgoing: $inn/spool/outgoing
patharchive: $inn/spool/archive
pathtmp: $inn/tmp
X
    mkdir -p $inn/spool/articles $inn/spool/overview $inn/spool/incoming/bad $inn/spool/outgoing
    printf 'method tradspool {\n newsgroups: *\n class: 0\n}\n' > $inn/etc/storage.conf
    printf 'ME:*::\n' > $inn/etc/newsfeeds
    for group in control control.cancel control.checkgroups control.newgroup control.rmgroup junk comp.graphics; do
        printf '%s 0000000000 0000000001 y\n' $group
    done > $inn/db/active
    chown -R news:news "$folder"/inn
    export INNCONF=$inn/etc/inn.conf
    (cd $inn/db && su news -s /bin/sh -c "INNCONF=$INNCONF /usr/lib/news/bin/makedbz -i -o -s 10000" 2>/dev/null
     [ -e history ] || su news -s /bin/sh -c ": > history; INNCONF=$INNCONF /usr/lib/news/bin/makedbz -i -o -s 10000" 2>/dev/null
     for f in history.n.*; do [ ! -e "$f" ] || mv "$f" "history.${f#history.n.}"; done)
    su news -s /bin/sh -c "INNCONF=$INNCONF /usr/lib/news/bin/innd -P 11119" >/dev/null 2>&1
    sleep 2
    if [ -e $inn/run/innd.pid ]; then
        printf '#!/bin/sh\nexport INNCONF=%s\nexec /usr/lib/news/bin/rnews -S 127.0.0.1 -P 11119\n' "$INNCONF" > "$folder/rnews"
        chmod 755 "$folder/rnews"
        export BANGPATH_BENCH_RNEWS="$folder/rnews"
    else
        echo "bench: INN does not start" >&2
    fi
else
    echo "bench: no INN (install inn2, or PEERS=install as root)" >&2
fi

"$@"
