# CVE-2016-9962, 2019-5736 and 2024-21626: looks for processes of the host's that come into the guest, before they have
# become what they are to be, and for what of the host can be reached through them. Ends when told to by a file.
my (%seen, %reached);
my $found = 0;
until (-e '/tmp/watch-ends') {
    opendir my $proc, '/proc' or die "proc: $!";
    for my $pid (grep { /^\d+$/ && $_ > 1 && $_ != $$ } readdir $proc) {
        # One that has become a program of the guest's is no concern of ours.
        my $program = readlink "/proc/$pid/exe";
        $found++ if !defined $program && !$seen{$pid}++;
        if (defined $program && $program =~ m{/hostel$}) {
            # Executed once more, by the guest: it may be read, and nothing else.
            $reached{"program $program"} = 1 if open my $opened, '+<', "/proc/$pid/exe";
        }
        for my $what ("cwd", "root", map { "fd/$_" } 3 .. 15) {
            my $to = readlink "/proc/$pid/$what";
            # Who answers the fakes has files of the host's open for reading; a directory leads on.
            $reached{"$what $to"} = 1 if defined $to && -d "/proc/$pid/$what" && $to =~ m{cgroup|\(unreachable\)|hostel\.exec};
        }
        # Between the two looks it may have become a program of the guest's.
        my $opened = !defined $program && open my $memory, '<', "/proc/$pid/mem";
        $reached{"memory"} = 1 if $opened && !defined readlink "/proc/$pid/exe";
    }
}
print %reached ? "escaped: " . join(', ', keys %reached) . "\n" : "held\n";
