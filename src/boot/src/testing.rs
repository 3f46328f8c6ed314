//! A boot made by hand, for the tests of this crate.

use crate::Boot;
use crate::edges::Edges;
use hostel_contract::status::{ActiveState, GuestState, StatusHeader, StatusRow};

/// What a test may want otherwise.
pub struct Made {
    /// Milliseconds of the clock at which the guest was ready.
    pub ready_ms: u64,
    /// When web.service came up; 0: not yet.
    pub up_of_web: u64,
}

impl Default for Made {
    fn default() -> Self {
        Made { ready_ms: 1200, up_of_web: 1199 }
    }
}

/// A row in an active state, and nothing else in it.
pub fn row(active: u8) -> StatusRow {
    StatusRow { active, ..StatusRow::decode(&[0; StatusRow::SIZE]).unwrap() }
}

impl Made {
    /// The header: init began at 1,000 ms, and had its plan 10 ms later.
    pub fn header(&self) -> StatusHeader {
        let mut header = StatusHeader::decode(&[0; StatusHeader::SIZE]).unwrap();
        (header.began_usec, header.plan_usec, header.ready_usec) =
            (1_000_000, 1_010_000, self.ready_ms * 1000);
        header.state = GuestState::Running.code();
        header
    }

    /// The boot: web waits for db, db for setup; log is short and nobody waits for it.
    pub fn boot(&self) -> Boot {
        let up = |started_ms, up_ms| StatusRow {
            started_ms,
            up_ms,
            since_ms: up_ms,
            ..row(ActiveState::Active.code())
        };
        let web = match self.up_of_web {
            0 => StatusRow { active: ActiveState::Activating.code(), ..up(1160, 0) },
            ms => up(1160, ms),
        };
        let setup = StatusRow { up_ms: 0, active: ActiveState::Inactive.code(), ..up(1020, 1050) };
        let rows = [
            ("all.target", if self.ready_ms == 0 { row(0) } else { up(1199, 1199) }),
            ("web.service", web),
            ("db.service", up(1050, 1150)),
            ("setup.service", StatusRow { since_ms: 1050, ..setup }),
            ("log.service", up(1020, 1025)),
            ("later.service", if self.ready_ms == 0 { row(0) } else { up(9000, 9001) }),
            ("never.service", row(ActiveState::Inactive.code())),
            ("bus-asked.service", up(1100, 1110)),
        ];
        let edges = "# 00000000000000ff 0\n\
            Wants=1,2,4 After=1,2,4\n\
            After=2,4 Requires=2\n\
            After=3 Wants=3\n\n\n\n\n\n";
        let edges = Edges::parse(edges.as_bytes()).unwrap();
        Boot::new(&self.header(), rows.map(|(name, row)| (name.to_owned(), row)), &edges)
    }
}

/// The usual one.
pub fn made() -> Boot {
    Made::default().boot()
}
