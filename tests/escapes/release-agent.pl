# CVE-2022-0492: a program of the guest's in release_agent of a version 1 hierarchy, which the host's root runs.
# What can be mounted must not be written: neither that file nor any other. Arguments: hierarchies to try, else all.
use constant { MOUNT => 165 };
open my $list, '<', '/proc/cgroups' or die "cgroups: $!";
my @controllers = map { (split)[0] } grep { !/^#/ } <$list>;
mkdir '/tmp/v1';
my @reached;
for my $one (@ARGV ? @ARGV : (@controllers, 'none,name=systemd')) {
    my $controller = "$one";
    my ($source, $place, $kind) = ("none", "/tmp/v1", "cgroup");
    next if syscall(MOUNT, $source, $place, $kind, 0, $controller) != 0;
    for my $file (qw(release_agent notify_on_release cgroup.procs tasks)) {
        push @reached, "$controller/$file" if open my $opened, '>>', "/tmp/v1/$file";
    }
    # A hierarchy that has a group stays: none is made where it is known already that one could be.
    push @reached, "$controller/new" if !@reached && mkdir "/tmp/v1/new-$$";
    system 'umount', '/tmp/v1';
}
print @reached ? "escaped: @reached\n" : "held\n";
