# CVE-2019-5736: the programs of the host's that run in the guest, overwritten by its root.
system 'mount -o remount,rw,bind /run/hostel/bin 2>/dev/null';
my @reached;
for my $program ('/proc/1/exe', glob('/run/hostel/bin/*')) {
    push @reached, $program if open my $opened, '+<', $program;
    push @reached, "$program (mode)" if chmod 0777, $program;
}
push @reached, 'a new file' if open my $made, '>', '/run/hostel/bin/made';
print @reached ? "escaped: @reached\n" : "held\n";
