//! Contents that are the same in every guest.

/// Below `/`, and what stands there.
const ALL: &[(&str, &str)] = &[
    // The host's boot loader has nothing to say to a guest; what parses it (runit's gettys, dracut) finds no option.
    ("proc/cmdline", "ro\n"),
    // The host's disks and arrays are none of the guest's.
    ("proc/mdstat", "Personalities : \nunused devices: <none>\n"),
    ("proc/partitions", "major minor  #blocks  name\n\n"),
    (
        "proc/slabinfo",
        "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : \
         tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    ),
];

/// What stands at a path; `None`: it is made from values.
pub fn of(path: &str) -> Option<&'static str> {
    ALL.iter().find(|(one, _)| *one == path).map(|(_, text)| *text)
}
