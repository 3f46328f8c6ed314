# Device nodes: made by the guest, and one that is in its root already (made by the test, as who packs an archive can).
use constant { MKNOD => 133, MOUNT => 165, MS_REMOUNT_BIND => 4096 | 32 };
my @reached;
for my $node (['b', 060666, 7 << 8], ['c', 020666, 10 << 8 | 229]) {
    my $path = "/tmp/node-$node->[0]";
    push @reached, "mknod $node->[0]" if syscall(MKNOD, $path, $node->[1], $node->[2]) == 0;
}
push @reached, 'a node of the root' if open my $opened, '+<', '/node-fuse';
# Without the flag that forbids it: nothing keeps the guest's root from that.
my ($nothing, $root) = ("none", "/");
syscall(MOUNT, $nothing, $root, $nothing, MS_REMOUNT_BIND, 0);
push @reached, 'a node of the root, remounted' if open my $opened, '+<', '/node-fuse';
# What a guest has goes on working.
for my $node (qw(null zero full random urandom)) {
    push @reached, "no /dev/$node" unless open my $opened, '<', "/dev/$node";
}
print @reached ? "escaped: @reached\n" : "held\n";
