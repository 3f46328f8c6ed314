# A key of whoever called: in the session's keyring, which is inherited.
use constant { KEYCTL => 250, SEARCH => 10, SESSION => -3, USER_SESSION => -5 };
my @reached;
my ($kind, $name) = ("user", $ARGV[0]);
for my $ring (SESSION, USER_SESSION) {
    push @reached, $ring if syscall(KEYCTL, SEARCH, $ring, $kind, $name, 0) >= 0;
}
print @reached ? "escaped: found in @reached\n" : "held\n";
