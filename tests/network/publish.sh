# In a network namespace of its own: ports of the host's that lead to a guest, asked for from outside, by the host, and by
# another guest at the same bridge. $1: the root, $2: where the scripts are, $3: the beginning of the guests' names.
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip link add bridge type bridge
ip address add 10.99.2.1/24 dev bridge; ip address add fd99:2::1/64 dev bridge nodad
ip link set bridge up
root=$1 name=$3
server=$(cat "$2/server.pl") client=$(cat "$2/client.pl")
out=$(mktemp -d)
unshare --net sleep 1000 & outside=$!
trap 'kill $server_guest $outside; wait; rm -r $out' EXIT
for try in $(seq 100); do test "$(readlink /proc/$outside/ns/net)" != "$(readlink /proc/self/ns/net)" && break; sleep 0.05; done
ip link add near type veth peer name far netns $outside
ip address add 192.0.2.1/24 dev near; ip address add 2001:db8::1/64 dev near nodad; ip link set near up
nsenter -t $outside -n sh -c 'ip address add 192.0.2.2/24 dev far; ip address add 2001:db8::2/64 dev far nodad
    ip link set far up; ip route add default via 192.0.2.1; ip route add default via 2001:db8::1'
guest() { # which, its settings, a command
    which=$1 settings=$2; shift 2
    exec hostel run --name $name-$which --volatile --set kind=veth --set bridge=bridge $settings "dir:$root" -- "$@" 2>&1
}
guest a "--set address=10.99.2.2/24,fd99:2::2/64 --set gateway=10.99.2.1,fd99:2::1
    --set publish=8080:80,8081:81,8083:83/udp,192.0.2.1:9090:80" perl -e "$server" 10.9.9.9 fd09::9 </dev/null >$out/a & server_guest=$!
for try in $(seq 300); do grep -q ready $out/a && break; sleep 0.1; done
grep -v '^any\|^lo\|^udp\|^foreign\|^ready' $out/a
asks='tcp 192.0.2.1 8080
udp 192.0.2.1 8083
tcp 2001:db8::1 8081
tcp 192.0.2.1 9090'
echo "$asks" | nsenter -t $outside -n perl -e "$client" | sed 's/^/outside /'
printf 'tcp 10.99.2.1 8080\ntcp 10.99.2.1 9090\ntcp 127.0.0.1 8080\ntcp ::1 8081\ntcp fd99:2::1 8081\n' | perl -e "$client" | sed 's/^/host /'
echo "$asks" | (guest b "--set address=10.99.2.3/24,fd99:2::3/64 --set gateway=10.99.2.1,fd99:2::1" perl -e "$client") | sed 's/^/guest /'
# One port leads to one guest, and not away from a program of the host's.
(guest c "--set address=10.99.2.4/24 --set publish=8080:80" true </dev/null) | sed 's/^/same /'
perl -MIO::Socket::INET -e 'my $held = IO::Socket::INET->new(Listen => 1, LocalPort => 7070, ReuseAddr => 1) or die; print "listens\n"; close STDOUT; sleep 60' >$out/own & own=$!
for try in $(seq 100); do grep -q listens $out/own && break; sleep 0.05; done
(guest d "--set address=10.99.2.5/24 --set publish=7070:80" true </dev/null) | sed 's/^/taken /'
kill $own $server_guest; wait $own $server_guest
echo "$asks" | grep tcp | nsenter -t $outside -n perl -e "$client" | sed 's/^/afterwards /'
nft list tables | sed 's/^/left /'
