# CVE-2022-0811 and its kin: knobs of the kernel's that name a program for the host to run, by every /proc and /sys
# that the guest has or can make.
use constant { MOUNT => 165 };
my ($source, $place, $proc, $sysfs) = ("none", "/tmp/kernel", "proc", "sysfs");
mkdir $place;
mkdir "$place-sys";
syscall(MOUNT, $source, $place, $proc, 0, 0);
my $place_sys = "$place-sys";
syscall(MOUNT, $source, $place_sys, $sysfs, 0, 0);
my @reached;
for my $root ($place, '/run/hostel/kernel/proc') {
    for my $knob (qw(sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hotplug sys/vm/overcommit_memory sysrq-trigger)) {
        push @reached, "$root/$knob" if -e "$root/$knob" && open my $opened, '+<', "$root/$knob";
    }
}
for my $root ($place_sys, '/sys', '/run/hostel/kernel/sys') {
    for my $knob (qw(kernel/uevent_helper kernel/mm/transparent_hugepage/enabled power/state)) {
        push @reached, "$root/$knob" if -e "$root/$knob" && open my $opened, '+<', "$root/$knob";
    }
}
print @reached ? "escaped: @reached\n" : "held\n";
