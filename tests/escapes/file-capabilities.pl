# A program with every capability on its file (capabilities(7), version 2), set by the guest's root: the kernel must have
# noted whose root that was.
use constant SETXATTR => 188;
my ($file, $name) = ('/tmp/capable', 'security.capability');
open my $made, '>', $file or die "$file: $!";
print $made "#!/bin/true\n";
close $made;
my $value = pack 'L<5', 0x02000001, 0xffffffff, 0, 0x1ff, 0;
syscall(SETXATTR, $file, $name, $value, length $value, 0) == 0 or die "setxattr: $!";
print "set\n";
