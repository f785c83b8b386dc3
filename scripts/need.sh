#!/bin/sh
# Makes sure that the named programs and headers exist: installs their Debian packages when root, else says what to install.
set -eu
missing=""
for name in "$@"; do
  case "$name" in
    nginx) package=nginx-light ;;
    systemd-analyze) package=systemd ;;
    gcc) package="gcc libc6-dev" ;;
    dig | delv) package=bind9-dnsutils ;;
    kdig) package=knot-dnsutils ;;
    testssl) package="testssl.sh" ;;
    h2load) package=nghttp2-client ;;
    varnishd) package=varnish ;;
    openssl/ssl.h) package=libssl-dev ;;
    pdns_server) package="pdns-server pdns-backend-geoip" ;;
    *) package=$name ;;
  esac
  case "$name" in
    *.h) [ -e "/usr/include/$name" ] || missing="$missing $package" ;;
    *) PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null 2>&1 || missing="$missing $package" ;;
  esac
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of packages
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "missing programs: install the Debian packages$missing and run this again" >&2
  exit 1
fi
