#!/usr/bin/env bash
# Brings the real peers that the tests talk to: Debian packages, unpacked into a folder. All of them run from there:
# nothing is installed, no service is started, the machine's own mail and news stay as they are.
#
# usage: tests/peers.sh [FOLDER]      FOLDER is target/peers unless given
#
# Exit status 0: all are there. 1: something is missing, and it has been said what and why.
set -u
cd "$(dirname "$0")/.."
peers=$(realpath -m "${1:-target/peers}")
packages=(uucp postfix exim4-daemon-light inn2 inn2-inews swaks ncompress ser2net inetutils-telnet openbsd-inetd systemd python3-serial
  minicom mgetty)
programs=(usr/lib/uucp/uucico usr/bin/uux usr/bin/uucp usr/sbin/uuxqt usr/lib/postfix/sbin/master usr/sbin/smtp-source
  usr/sbin/smtp-sink usr/sbin/exim4 usr/lib/news/bin/innd usr/bin/swaks usr/bin/compress
  usr/sbin/ser2net usr/bin/inetutils-telnet usr/sbin/inetd usr/bin/systemd-socket-activate usr/bin/systemd-analyze
  usr/lib/python3/dist-packages/serial/rfc2217.py usr/bin/minicom sbin/mgetty)
log=$peers/log

missing() {
  echo "peers: MISSING: $*" >&2
  exit 1
}

mkdir -p "$peers/packages" || missing "cannot write to $peers"

# Run by root, Taylor's programs become user uucp, who may not even read this folder. This keeps them who they are.
if [ "$(id -u)" = 0 ] && [ ! -e "$peers/stay.so" ]; then
  cc -shared -fPIC -x c -o "$peers/stay.so" - <<'C' || missing "no C compiler: Taylor UUCP cannot be run as root"
#include <sys/types.h>
int setuid(uid_t u) { (void)u; return 0; }
int seteuid(uid_t u) { (void)u; return 0; }
int setreuid(uid_t r, uid_t e) { (void)r; (void)e; return 0; }
C
fi

# Exim wants to be the user Debian-exim, who is not on this machine: with this it stays who it is, and takes nobody for that user.
if [ ! -e "$peers/exim.so" ]; then
  cc -shared -fPIC -x c -o "$peers/exim.so" - -ldl <<'C' || missing "no C compiler: Exim cannot be run without its user"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
enum { NOBODY = 65534 };
struct passwd *getpwnam(const char *name) {
  if (strcmp(name, "Debian-exim") == 0) return getpwuid(geteuid() ? geteuid() : NOBODY);
  struct passwd *(*real)(const char *) = (struct passwd *(*)(const char *))dlsym(RTLD_NEXT, "getpwnam");
  return real(name);
}
struct group *getgrnam(const char *name) {
  if (strcmp(name, "Debian-exim") == 0) return getgrgid(getegid() ? getegid() : NOBODY);
  struct group *(*real)(const char *) = (struct group *(*)(const char *))dlsym(RTLD_NEXT, "getgrnam");
  return real(name);
}
int setuid(uid_t u) { (void)u; return 0; }
int seteuid(uid_t u) { (void)u; return 0; }
int setreuid(uid_t r, uid_t e) { (void)r; (void)e; return 0; }
int setgid(gid_t g) { (void)g; return 0; }
int setegid(gid_t g) { (void)g; return 0; }
int setregid(gid_t r, gid_t e) { (void)r; (void)e; return 0; }
int setgroups(size_t n, const gid_t *l) { (void)n; (void)l; return 0; }
int initgroups(const char *u, gid_t g) { (void)u; (void)g; return 0; }
int chown(const char *p, uid_t u, gid_t g) { (void)p; (void)u; (void)g; return 0; }
int fchown(int f, uid_t u, gid_t g) { (void)f; (void)u; (void)g; return 0; }
C
fi

# mgetty has its folders compiled in: with this they are below $ELSEWHERE, and the machine's own list of logins stays as it is.
if [ ! -e "$peers/elsewhere.so" ]; then
  cc -shared -fPIC -x c -o "$peers/elsewhere.so" - -ldl <<'C' || missing "no C compiler: mgetty cannot be run from a folder"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static char *elsewhere(const char *path, char *room) {
  static const char *folders[] = {"/etc/mgetty/", "/etc/nologin", "/var/lock/", "/var/log/", "/var/run/"};
  const char *top = getenv("ELSEWHERE");
  for (unsigned n = 0; top && n < sizeof folders / sizeof *folders; n++)
    if (!strncmp(path, folders[n], strlen(folders[n]))) {
      snprintf(room, PATH_MAX, "%s%s", top, path);
      return room;
    }
  return (char *)path;
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MOVED(path) elsewhere(path, (char[PATH_MAX]){0})
int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return REAL(open)(MOVED(path), flags, mode);
}
FILE *fopen(const char *path, const char *mode) { return REAL(fopen)(MOVED(path), mode); }
int access(const char *path, int mode) { return REAL(access)(MOVED(path), mode); }
int stat(const char *path, struct stat *facts) { return REAL(stat)(MOVED(path), facts); }
int link(const char *from, const char *to) { return REAL(link)(MOVED(from), MOVED(to)); }
int unlink(const char *path) { return REAL(unlink)(MOVED(path)); }
int chmod(const char *path, mode_t mode) { return REAL(chmod)(MOVED(path), mode); }
int mkstemp(char *path) {
  char room[PATH_MAX] = {0}, *moved = elsewhere(path, room);
  int file = REAL(mkstemp)(moved);
  if (moved != path) strcpy(path, moved + strlen(moved) - strlen(path));
  return file;
}
void updwtmp(const char *path, const void *entry) { (void)path; (void)entry; }
C
fi

[ "$(cat "$peers/complete" 2>/dev/null)" = "${packages[*]}" ] && exit 0

for tool in apt-get apt-cache dpkg-deb dpkg-query; do
  command -v "$tool" >/dev/null || missing "this machine has no $tool, so ${packages[*]} cannot be fetched"
done
: > "$log"
apt=(-o APT::Sandbox::User="$(id -un)")
complaint() {
  grep -m 1 -E 'Temporary failure|Could not resolve|Unable to connect|Failed to fetch' "$log" || grep -E '^(E:|W:)' "$log" | tail -n 1
}

# The machine's own package lists serve if it has them and they are fresh. Otherwise lists of our own, beside the
# packages: the machine's are not ours to change.
own_lists() {
  mkdir -p "$peers/apt/state/lists/partial" "$peers/apt/cache/archives/partial"
  apt+=(-o Dir::State="$peers/apt/state" -o Dir::Cache="$peers/apt/cache" -o Dir::State::status=/var/lib/dpkg/status)
  apt-get "${apt[@]}" -qq update >>"$log" 2>&1
}
known() { apt-cache "${apt[@]}" show "${packages[@]}" >/dev/null 2>&1; }
known || own_lists
known || missing "the package lists cannot be fetched (no network?): $(complaint)"

# Libraries that the packages need and the machine lacks, found through their dependencies; what else they
# would like (cron, a mail server) the tests do without.
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
libraries() {
  local look=("$@") seen=" " next package
  while [ ${#look[@]} -gt 0 ]; do
    mapfile -t next < <(
      apt-cache "${apt[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "${look[@]}" 2>/dev/null | sed -nE 's/^ *\|?(Pre)?Depends: (lib[a-z0-9.+-]+).*/\2/p' | sort -u
    )
    look=()
    for package in "${next[@]}"; do
      if [[ $seen != *" $package "* ]] && ! installed "$package"; then
        seen+="$package "
        look+=("$package")
        echo "$package"
      fi
    done
  done
}
download() {
  local libraries
  mapfile -t libraries < <(libraries "${packages[@]}")
  (cd "$peers/packages" && rm -f ./*.deb && apt-get "${apt[@]}" -q download "${packages[@]}" "${libraries[@]}") >>"$log" 2>&1
}
download || { own_lists && download; } || missing "the packages cannot be fetched (no network?): $(complaint)"

for package in "$peers"/packages/*.deb; do
  # Not with the owners of the package, and setuid to nobody: the programs run as whoever runs the tests.
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$peers" --no-same-owner --no-same-permissions 2>>"$log" ||
    missing "cannot unpack $(basename "$package"): $(tail -n 1 "$log")"
done
chmod -R u+rwX,go+rX,u-s,g-s "$peers/usr"

for program in "${programs[@]}"; do
  [ -e "$peers/$program" ] || missing "$program is not in the packages"
done
echo "${packages[*]}" > "$peers/complete"
echo "peers: ${packages[*]} unpacked in $peers"
