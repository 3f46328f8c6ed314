# In a network namespace of its own: a guest without addresses asks for them itself, by DHCP and from routers' advertisements.
# $1: the root, $2: where the scripts are, $3: the guest's name.
ip link set lo up
ip link add bridge type bridge
ip address add 10.99.4.1/24 dev bridge; ip address add fd99:4::1/64 dev bridge nodad
ip link set bridge up
root=$1 name=$3
out=$(mktemp -d)
trap 'hostel rm --force $name; kill $server; wait; rm -r $out' EXIT
dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=bridge --bind-interfaces --dhcp-leasefile=$out/leases --enable-ra \
    --dhcp-range=10.99.4.100,10.99.4.110,1h --dhcp-range=fd99:4::,ra-only,64 2>$out/log & server=$!
printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=yes\n' >$out/eth0.network
chmod 755 $out; chmod 644 $out/eth0.network
hostel create $name --from "dir:$root" --volatile --set kind=veth --set bridge=bridge \
    --set "bind=$out/eth0.network /etc/systemd/network/eth0.network ro"
hostel start $name
hostel exec $name -- systemctl start systemd-networkd
for try in $(seq 150); do
    addresses=$(hostel exec $name -- ip -o address show dev eth0 scope global)
    case $addresses in *10.99.4.1*fd99:4:*) break;; esac
    sleep 0.2
done
echo "$addresses" | sed -n 's/.*inet6 \(fd99:4:\).*/by advertisement \1/p;s/.*inet \(10\.99\.4\.1\)[0-9]*\/24.*/by DHCP \1/p'
hostel exec $name -- ip route show default | sed 's/ dev.*//'
