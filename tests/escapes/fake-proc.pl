# CVE-2015-1334: a /proc that the guest made itself, in which whoever joins finds labels, maps and files to write to.
# `cover`: makes it; `confined`: what the kernel itself says of this process; `uncover`: whether anything was written, and
# takes it away.
use constant { MOUNT => 165, UMOUNT2 => 166 };
my $kernels = '/run/hostel/kernel/proc';
my @files = qw(attr/current attr/exec attr/apparmor/exec uid_map gid_map setgroups loginuid oom_score_adj cgroup status);
if ($ARGV[0] eq 'cover') {
    my ($kind, $place) = ('tmpfs', '/proc');
    syscall(MOUNT, $kind, $place, $kind, 0, 0) == 0 or die "mount: $!";
    for my $process ('self', 'thread-self', 1 .. 400) {
        mkdir "/proc/$process";
        mkdir "/proc/$process/$_" for qw(attr attr/apparmor ns fd);
        for my $file (@files) { open my $made, '>', "/proc/$process/$file" or die "$file: $!"; print $made "fake\n"; }
        symlink '/', "/proc/$process/$_" for qw(root cwd exe);
    }
    print "covered\n";
} elsif ($ARGV[0] eq 'confined') {
    open my $status, '<', "$kernels/self/status" or die "status: $!";
    print grep { /^(Cap|Seccomp:|NoNewPrivs|Uid|Gid)/ } <$status>;
    for my $name (sort grep { /^[a-z]/ } map { s{.*/}{}r } glob "$kernels/self/ns/*") { print "$name ", readlink "$kernels/self/ns/$name", "\n"; }
    for my $file (qw(attr/current cgroup)) { open my $label, '<', "$kernels/self/$file" or next; print "$file $_" for <$label>; }
} else {
    my @written;
    for my $process ('self', 'thread-self', 1 .. 400) {
        for my $file (@files) {
            open my $made, '<', "/proc/$process/$file" or next;
            push @written, "/proc/$process/$file" if join('', <$made>) ne "fake\n";
        }
    }
    my $place = '/proc';
    syscall(UMOUNT2, $place, 0) == 0 or die "umount: $!";
    print @written ? "escaped: written to @written\n" : "held\n";
}
