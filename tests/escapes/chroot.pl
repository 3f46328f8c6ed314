# The chroot escape of util-vserver's own tests: a second chroot, while a directory stays open outside of it.
my $before = join ':', (stat '/')[0, 1];
opendir my $outside, '/' or die "opendir: $!";
mkdir '/tmp/cell';
chroot '/tmp/cell' or die "chroot: $!";
chdir $outside or die "chdir: $!";
chdir '..' for 1 .. 64;
chroot '.' or die "chroot: $!";
my $after = join ':', (stat '/')[0, 1];
print $before eq $after ? "held\n" : "escaped: the root is $after\n";
