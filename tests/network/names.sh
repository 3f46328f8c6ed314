# In a network namespace of its own: guests that boot, find each other by name, and one that comes and goes. $1: the root,
# $2: where the scripts are, $3: the beginning of the guests' names.
ip link set lo up
ip link add bridge type bridge
ip link set bridge up
root=$1 name=$3
trap 'for which in a b c; do hostel rm --force $name-$which 2>/dev/null; done' EXIT
guest() { # which, its settings
    hostel create $name-$1 --from "dir:$root" --volatile --set kind=veth --set bridge=bridge $2 >&2 && hostel start $name-$1 >&2 || exit 1
}
guest a "--set address=10.99.3.2/24,fd99:3::2/64"
guest b "--set address=10.99.3.3/24 --set hostname=second" # has a host name of its own
guest c "--set address=10.99.3.4/24 --set names=false" # isn't named, and knows none
list() { hostel exec $name-$1 -- cat /etc/hosts | sed -n "s/$name-/NAME-/;s/^\(10\.99\|fd99\)/$1 knows \1/p"; }
find() { # a name, the line that is waited for
    for try in $(seq 50); do list a | grep -q "$1" && break; sleep 0.1; done
}
find NAME-b; list a; list b; list c
hostel exec $name-a -- busybox ping -c 1 -W 10 $name-b | sed -n 's/.*(\(10[0-9.]*\)).*/a reaches \1/p'
hostel stop $name-b >&2
for try in $(seq 50); do list a | grep -q NAME-b || break; sleep 0.1; done
list a | sed 's/^/later /'
