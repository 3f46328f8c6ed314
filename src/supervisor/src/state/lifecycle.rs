//! Where a unit is in its life, and what that means to others: who waits for it, who sees it, whose commands run.
//!
//! Pure. What leads from one state to another stands in [`crate::life`]; systemd's two words of each state (active and
//! sub-state, systemctl(1)) are told from here.

use hostel_contract::code_enum;
use hostel_contract::status::{ActiveState, SubState};
use hostel_plan::{Phase, UnitKind};

code_enum! {
    /// Where a unit is in its life. What leads from one to another stands in [`crate::life`].
    pub enum State {
        /// Not there.
        Dead = 0, "dead";
        /// A helper evaluates the conditions of a unit that has no process.
        Check = 1, "check";
        /// ExecCondition= runs.
        Condition = 2, "condition";
        /// ExecStartPre= runs.
        StartPre = 3, "start-pre";
        /// The start command runs, or readiness is awaited; a socket's helper opens its sockets.
        Start = 4, "start";
        /// A helper reads PIDFile=, or guesses the main process.
        PidFile = 5, "pid-file";
        /// ExecStartPost= runs.
        StartPost = 6, "start-post";
        /// The main process runs.
        Running = 7, "running";
        /// RemainAfterExit=, and the command has ended well.
        Exited = 8, "exited";
        /// Up without a process: target, slice, timer, path, device, mount, socket.
        Active = 9, "active";
        /// ExecReload= runs.
        Reload = 10, "reload";
        /// Awaits READY=1 after RELOADING=1 or a reload signal.
        ReloadNotify = 11, "reload-notify";
        /// ExecStop= runs.
        Stop = 12, "stop";
        /// SIGABRT was sent because WATCHDOG=1 did not come.
        Abort = 13, "abort";
        /// KillSignal= was sent.
        StopSigterm = 14, "stop-sigterm";
        /// SIGKILL was sent.
        StopSigkill = 15, "stop-sigkill";
        /// ExecStopPost= runs.
        StopPost = 16, "stop-post";
        /// What is left got KillSignal=.
        FinalSigterm = 17, "final-sigterm";
        /// What is left got SIGKILL.
        FinalSigkill = 18, "final-sigkill";
        /// A helper removes directories.
        Cleaning = 19, "cleaning";
        /// RestartSec= runs.
        AutoRestart = 20, "auto-restart";
        /// Ended, not as it should.
        Failed = 21, "failed";
    }
}

impl State {
    /// Nothing of it is there, and nothing will come by itself.
    pub const fn is_settled(self) -> bool {
        matches!(self, State::Dead | State::Failed)
    }

    /// On its way up.
    pub const fn is_starting(self) -> bool {
        matches!(
            self,
            State::Check
                | State::Condition
                | State::StartPre
                | State::Start
                | State::PidFile
                | State::StartPost
        )
    }

    /// Up, or about to be: what a restart of something that it hangs on, or `try-restart`, begins anew.
    pub const fn restarts_along(self) -> bool {
        // What waits for RestartSec= comes by itself.
        self.is_starting() || self.is_up()
    }

    /// There, as others see it.
    pub const fn is_up(self) -> bool {
        matches!(self, State::Running | State::Exited | State::Active | State::Reload | State::ReloadNotify)
    }

    /// On its way down.
    pub const fn is_stopping(self) -> bool {
        matches!(
            self,
            State::Stop
                | State::Abort
                | State::StopSigterm
                | State::StopSigkill
                | State::StopPost
                | State::FinalSigterm
                | State::FinalSigkill
                | State::Cleaning
        )
    }

    /// Signals were sent, and the end of processes is awaited.
    pub(crate) const fn awaits_end(self) -> bool {
        matches!(
            self,
            State::Abort
                | State::StopSigterm
                | State::StopSigkill
                | State::FinalSigterm
                | State::FinalSigkill
        )
    }

    /// WATCHDOG=1 is expected.
    pub(crate) const fn is_watched(self) -> bool {
        matches!(self, State::StartPost | State::Running | State::Reload | State::ReloadNotify)
    }

    /// Whose commands run in it; None where none do.
    pub const fn phase(self) -> Option<Phase> {
        match self {
            State::Check => Some(Phase::Check),
            State::Condition => Some(Phase::Condition),
            State::StartPre => Some(Phase::StartPre),
            State::Start => Some(Phase::Start),
            State::PidFile => Some(Phase::ReadPidFile),
            State::StartPost => Some(Phase::StartPost),
            State::Reload | State::ReloadNotify => Some(Phase::Reload),
            State::Stop | State::Abort | State::StopSigterm | State::StopSigkill => Some(Phase::Stop),
            State::StopPost | State::FinalSigterm | State::FinalSigkill => Some(Phase::StopPost),
            State::Cleaning => Some(Phase::CleanUp),
            State::Dead
            | State::Failed
            | State::AutoRestart
            | State::Running
            | State::Exited
            | State::Active => None,
        }
    }

    /// systemd's active state.
    pub const fn active(self) -> ActiveState {
        match self {
            State::Dead => ActiveState::Inactive,
            State::Failed => ActiveState::Failed,
            State::Check
            | State::Condition
            | State::StartPre
            | State::Start
            | State::PidFile
            | State::StartPost
            | State::AutoRestart => ActiveState::Activating,
            State::Running | State::Exited | State::Active => ActiveState::Active,
            State::Reload | State::ReloadNotify => ActiveState::Reloading,
            State::Stop
            | State::Abort
            | State::StopSigterm
            | State::StopSigkill
            | State::StopPost
            | State::FinalSigterm
            | State::FinalSigkill
            | State::Cleaning => ActiveState::Deactivating,
        }
    }

    /// systemd's sub-state, for a unit of this kind; `watching` says whether a socket, timer or path is watched.
    pub(crate) fn sub(self, kind: UnitKind, watching: Watching) -> SubState {
        match self {
            State::Dead => SubState::Dead,
            State::Failed => SubState::Failed,
            State::Check | State::Condition => SubState::Condition,
            State::StartPre => SubState::StartPre,
            State::Start | State::PidFile => SubState::Start,
            State::StartPost => SubState::StartPost,
            State::Running => SubState::Running,
            State::Exited => SubState::Exited,
            State::Active => match (kind, watching) {
                (UnitKind::Socket, Watching::Init) => SubState::Listening,
                (UnitKind::Socket | UnitKind::Path | UnitKind::Timer, Watching::Service)
                | (UnitKind::Service, _) => SubState::Running,
                (UnitKind::Timer | UnitKind::Path, Watching::Init) => SubState::Waiting,
                (UnitKind::Mount, _) => SubState::Mounted,
                (UnitKind::Device | UnitKind::Swap, _) => SubState::Plugged,
                (UnitKind::Target | UnitKind::Slice, _) => SubState::Active,
            },
            State::Reload | State::ReloadNotify => SubState::Reload,
            State::Stop => SubState::Stop,
            State::Abort | State::StopSigterm => SubState::StopSigterm,
            State::StopSigkill => SubState::StopSigkill,
            State::StopPost => SubState::StopPost,
            State::FinalSigterm => SubState::FinalSigterm,
            State::FinalSigkill => SubState::FinalSigkill,
            State::Cleaning => SubState::Cleaning,
            State::AutoRestart => SubState::AutoRestart,
        }
    }
}

/// Who looks at the sockets of a listening socket unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// Init: the next connection starts the service.
    Init,
    /// The service, which runs.
    Service,
}
