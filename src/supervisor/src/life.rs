//! The life of a unit: one total table over (what happened, state).
//!
//! It touches nothing: [`decide`] is a function of two codes. What a step does stands in `ascend` and `descend`.
//!
//! A unit goes up through these states, leaving out those that it has no commands for:
//!
//! | state | what runs | goes on when |
//! | --- | --- | --- |
//! | dead, failed | nothing | a start job runs |
//! | check | a helper: conditions of a unit without a process | the helper says yes |
//! | condition | ExecCondition= | each command exits with 0; 1 to 254 is "skip" |
//! | start-pre | ExecStartPre= | each command exits with 0 |
//! | start | ExecStart= (or a helper opens sockets) | the type's rule: forked, exec'ed, exited, READY=1, bus name |
//! | pid-file | a helper: PIDFile=, or a guess | the helper says which process it is |
//! | start-post | ExecStartPost= | each command exits with 0 |
//! | running, exited, active | the main process; nothing; nothing | a stop, a reload, or the end of the process |
//! | reload | ExecReload= | each command exits with 0 |
//! | reload-notify | nothing beside the main process | READY=1 |
//!
//! And down through these, entered where the way down begins:
//!
//! | state | what runs or was sent | goes on when | or, when its time is over |
//! | --- | --- | --- | --- |
//! | stop | ExecStop= (only from running, exited, active) | the commands ended | stop-sigterm |
//! | abort | SIGABRT (the watchdog) | main and control are gone | stop-sigkill |
//! | stop-sigterm | KillSignal=, as KillMode= says | main and control are gone | stop-sigkill |
//! | stop-sigkill | SIGKILL | main and control are gone | stop-post |
//! | stop-post | ExecStopPost= | the commands ended | final-sigterm |
//! | final-sigterm | KillSignal= to what is left of the group | the group is empty | final-sigkill |
//! | final-sigkill | SIGKILL to it | the group is empty | cleaning |
//! | cleaning | a helper removes directories | it ended | dead, failed or auto-restart |
//! | auto-restart | nothing, for RestartSec= | a restart job is queued | (that is how it goes on) |
//!
//! Every time-out of the way down leads further down, so a stop always ends. What fails on the way up enters the
//! way down at stop-sigterm, with its result; so does a stop job that meets a start. The first fault of a life is
//! its result. A state that a time-out or process can't reach says `Impossible`: nothing is done then, for PID 1
//! goes on whatever it is told.

use crate::state::State;

/// What happened to a unit, with everything weighed that doesn't depend on its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its start job is to run.
    Start,
    /// Its stop job is to run, or the stop half of a restart.
    Stop,
    /// Its reload job is to run.
    Reload,
    /// The child for the state was made.
    Spawned,
    /// It could not be made.
    SpawnFailed,
    /// The main process passed its exec.
    Executed,
    /// The main process' exec did not come about: its exit follows.
    NotExecuted,
    /// The main process ended well.
    MainDone,
    /// The main process ended badly.
    MainFailed,
    /// The control process ended well, or its failure is to be ignored.
    ControlDone,
    /// The control process ended badly.
    ControlFailed,
    /// ExecCondition= said no.
    ControlSkips,
    /// A child ended because a condition or an assertion is false.
    Unmet,
    /// The group has no process left.
    Empty,
    /// The time of the state is over.
    TimedOut,
    /// WATCHDOG=1 did not come.
    Watchdog,
    /// READY=1.
    Ready,
    /// RELOADING=1.
    Reloading,
    /// STOPPING=1.
    Stopping,
}

impl Cause {
    /// All, for tests of the table.
    pub const ALL: [Cause; 19] = [
        Cause::Start,
        Cause::Stop,
        Cause::Reload,
        Cause::Spawned,
        Cause::SpawnFailed,
        Cause::Executed,
        Cause::NotExecuted,
        Cause::MainDone,
        Cause::MainFailed,
        Cause::ControlDone,
        Cause::ControlFailed,
        Cause::ControlSkips,
        Cause::Unmet,
        Cause::Empty,
        Cause::TimedOut,
        Cause::Watchdog,
        Cause::Ready,
        Cause::Reloading,
        Cause::Stopping,
    ];
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is well as it is.
    Stay,
    /// Nothing, for it can't be.
    Impossible,
    /// The job is done before it began.
    Already,
    /// The job joins what is under way, and ends with it.
    Join,
    /// The job waits until the state changes.
    Later,
    /// The job can't be done in this state.
    Refuse,
    /// Begin a life.
    Begin,
    /// The start command was forked.
    Launched,
    /// The start command was exec'ed.
    Executed,
    /// The start command could not be exec'ed.
    NotExecuted,
    /// The next command of this phase, or the next phase up.
    NextUp,
    /// The start command ended: what that means depends on the type.
    StartMainEnded,
    /// The control process of the start ended well: the daemon is forked, the name owned, the sockets open.
    StartControlDone,
    /// The main process of a running unit is gone.
    MainGone,
    /// Main is gone, and unless a control process goes on, the life ends.
    StopUnlessBusy,
    /// READY=1 in the start.
    ReadyAtStart,
    /// Begin the reload.
    BeginReload,
    /// The next command of the reload, or its end.
    NextReload,
    /// The reload went wrong, and the unit goes on.
    ReloadFailed,
    /// The reload took too long.
    ReloadTimedOut,
    /// READY=1 behind RELOADING=1.
    ReloadReady,
    /// The unit reloads by itself.
    ReloadByItself,
    /// Note RELOADING=1 for later.
    NoteReloading,
    /// The unit stops by itself: wait for it.
    StopByItself,
    /// Note STOPPING=1 for later.
    NoteStopping,
    /// Down by ExecStop=.
    DownByCommands,
    /// Down by SIGABRT.
    DownByAbort,
    /// Down by KillSignal=.
    DownBySignal,
    /// Down by KillSignal=, once the control process is gone too.
    DownBySignalWhenQuiet,
    /// Next: SIGKILL.
    DownByKill,
    /// Next: ExecStopPost=.
    DownToStopPost,
    /// The same, once main and control are gone.
    DownToStopPostWhenQuiet,
    /// Next: what is left of the group.
    DownToFinal,
    /// Next: SIGKILL to what is left.
    DownToFinalKill,
    /// Next: clean up.
    DownToCleaning,
    /// The same, once main, control and group are gone.
    DownToCleaningWhenQuiet,
    /// The next command of ExecStop=, or on.
    NextStop,
    /// The next command of ExecStopPost=, or on.
    NextStopPost,
    /// The clean-up takes too long.
    CleaningTimedOut,
    /// The life is over.
    Settle,
    /// The life ends before it began: a condition or an assertion is false.
    SettleUnmet,
    /// The automatic restart is called off.
    CancelRestart,
    /// RestartSec= is over.
    RestartNow,
    /// `Type=idle` waited long enough.
    IdleOver,
}

/// What a cause means in a state. [`meaning`], worked out for every pair when this is compiled: as data it's smaller than
/// as code.
pub fn decide(cause: Cause, state: State) -> Step {
    TABLE[cause as usize][state as usize]
}

static TABLE: [[Step; State::ALL.len()]; Cause::ALL.len()] = {
    let mut table = [[Step::Impossible; State::ALL.len()]; Cause::ALL.len()];
    let mut at = 0;
    while at < Cause::ALL.len() * State::ALL.len() {
        let (cause, state) = (Cause::ALL[at / State::ALL.len()], State::ALL[at % State::ALL.len()]);
        table[cause as usize][state as usize] = meaning(cause, state);
        at += 1;
    }
    table
};

/// The table. It has no wildcard arm: a new state or cause does not compile until each pair was thought of.
const fn meaning(cause: Cause, state: State) -> Step {
    use Cause as C;
    use State as S;
    use Step as T;
    match (cause, state) {
        (C::Start, S::Dead | S::Failed) => T::Begin,
        (C::Start, S::Check | S::Condition | S::StartPre | S::Start | S::PidFile | S::StartPost) => T::Join,
        (C::Start, S::Running | S::Exited | S::Active | S::Reload | S::ReloadNotify) => T::Already,
        (C::Start, S::Stop | S::Abort | S::StopSigterm | S::StopSigkill | S::StopPost) => T::Later,
        (C::Start, S::FinalSigterm | S::FinalSigkill | S::Cleaning | S::AutoRestart) => T::Later,

        (C::Stop, S::Dead | S::Failed) => T::Already,
        (C::Stop, S::Check | S::Condition | S::StartPre | S::Start | S::PidFile) => T::DownBySignal,
        (C::Stop, S::StartPost | S::Reload | S::ReloadNotify | S::Abort) => T::DownBySignal,
        (C::Stop, S::Running | S::Exited | S::Active) => T::DownByCommands,
        (C::Stop, S::Stop | S::StopSigterm | S::StopSigkill | S::StopPost) => T::Join,
        (C::Stop, S::FinalSigterm | S::FinalSigkill | S::Cleaning) => T::Join,
        (C::Stop, S::AutoRestart) => T::CancelRestart,

        (C::Reload, S::Running | S::Exited | S::Active) => T::BeginReload,
        (C::Reload, S::Reload | S::ReloadNotify) => T::Later,
        (C::Reload, S::Check | S::Condition | S::StartPre | S::Start | S::PidFile | S::StartPost) => T::Later,
        (C::Reload, S::Dead | S::Failed | S::AutoRestart | S::Stop | S::Abort | S::StopSigterm) => T::Refuse,
        (C::Reload, S::StopSigkill | S::StopPost | S::FinalSigterm | S::FinalSigkill) => T::Refuse,
        (C::Reload, S::Cleaning) => T::Refuse,

        (C::Spawned, S::Start) => T::Launched,
        (C::Spawned, S::Check | S::Condition | S::StartPre | S::PidFile | S::StartPost) => T::Stay,
        (C::Spawned, S::Reload | S::Stop | S::StopPost | S::Cleaning) => T::Stay,
        (C::Spawned, S::Dead | S::Failed | S::AutoRestart | S::Exited | S::Active) => T::Impossible,
        (C::Spawned, S::Running | S::ReloadNotify | S::Abort | S::StopSigterm) => T::Impossible,
        (C::Spawned, S::StopSigkill | S::FinalSigterm | S::FinalSigkill) => T::Impossible,

        (C::SpawnFailed, S::Check | S::Condition | S::StartPre | S::Start | S::PidFile) => T::DownBySignal,
        (C::SpawnFailed, S::StartPost | S::Stop) => T::DownBySignal,
        (C::SpawnFailed, S::Reload) => T::ReloadFailed,
        (C::SpawnFailed, S::StopPost) => T::DownToFinal,
        (C::SpawnFailed, S::Cleaning) => T::Settle,
        (C::SpawnFailed, S::Dead | S::Failed | S::AutoRestart | S::Exited | S::Active) => T::Impossible,
        (C::SpawnFailed, S::Running | S::ReloadNotify | S::Abort | S::StopSigterm) => T::Impossible,
        (C::SpawnFailed, S::StopSigkill | S::FinalSigterm | S::FinalSigkill) => T::Impossible,

        (C::Executed, S::Start) => T::Executed,
        (C::NotExecuted, S::Start) => T::NotExecuted,
        // A simple service went on when it was forked, and a stop may have come in between.
        (C::Executed | C::NotExecuted, S::PidFile | S::StartPost | S::Running | S::Reload) => T::Stay,
        (C::Executed | C::NotExecuted, S::ReloadNotify | S::Stop | S::Abort | S::StopSigterm) => T::Stay,
        (C::Executed | C::NotExecuted, S::StopSigkill | S::StopPost | S::FinalSigterm) => T::Stay,
        (C::Executed | C::NotExecuted, S::FinalSigkill | S::Cleaning) => T::Stay,
        (C::Executed | C::NotExecuted, S::Dead | S::Failed | S::AutoRestart) => T::Impossible,
        (C::Executed | C::NotExecuted, S::Check | S::Condition | S::StartPre) => T::Impossible,
        (C::Executed | C::NotExecuted, S::Exited | S::Active) => T::Impossible,

        (C::MainDone | C::MainFailed, S::Start) => T::StartMainEnded,
        // A forking daemon that is gone before its helper is: the helper's end leads on, and finds it gone.
        (C::MainDone | C::MainFailed, S::PidFile) => T::Stay,
        (C::MainDone | C::MainFailed, S::StartPost | S::Reload | S::ReloadNotify) => T::StopUnlessBusy,
        (C::MainDone | C::MainFailed, S::Running) => T::MainGone,
        (C::MainDone | C::MainFailed, S::Stop) => T::DownBySignalWhenQuiet,
        (C::MainDone | C::MainFailed, S::Abort | S::StopSigterm | S::StopSigkill) => {
            T::DownToStopPostWhenQuiet
        }
        // It outlived SIGKILL's time: ExecStopPost= or the clean-up runs, and its end leads on.
        (C::MainDone | C::MainFailed, S::StopPost | S::Cleaning) => T::Stay,
        (C::MainDone | C::MainFailed, S::FinalSigterm | S::FinalSigkill) => T::DownToCleaningWhenQuiet,
        (C::MainDone | C::MainFailed, S::Dead | S::Failed | S::AutoRestart) => T::Impossible,
        (C::MainDone | C::MainFailed, S::Check | S::Condition | S::StartPre) => T::Impossible,
        (C::MainDone | C::MainFailed, S::Exited | S::Active) => T::Impossible,

        (C::ControlDone, S::Check | S::Condition | S::StartPre | S::PidFile | S::StartPost) => T::NextUp,
        (C::ControlDone, S::Start) => T::StartControlDone,
        (C::ControlDone, S::Reload) => T::NextReload,
        (C::ControlDone, S::Stop) => T::NextStop,
        (C::ControlDone, S::StopPost) => T::NextStopPost,
        (C::ControlFailed | C::ControlSkips, S::Check | S::Condition | S::StartPre | S::Start) => {
            T::DownBySignal
        }
        (C::ControlFailed | C::ControlSkips, S::PidFile | S::StartPost | S::Stop) => T::DownBySignal,
        (C::ControlFailed | C::ControlSkips, S::Reload) => T::ReloadFailed,
        (C::ControlFailed | C::ControlSkips, S::StopPost) => T::DownToFinal,
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::Abort | S::StopSigterm) => {
            T::DownToStopPostWhenQuiet
        }
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::StopSigkill) => T::DownToStopPostWhenQuiet,
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::FinalSigterm | S::FinalSigkill) => {
            T::DownToCleaningWhenQuiet
        }
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::Cleaning) => T::Settle,
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::Dead | S::Failed) => T::Impossible,
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::Running | S::Exited) => T::Impossible,
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::Active | S::ReloadNotify) => T::Impossible,
        (C::ControlDone | C::ControlFailed | C::ControlSkips, S::AutoRestart) => T::Impossible,

        (C::Unmet, S::Check | S::Condition | S::StartPre | S::Start) => T::SettleUnmet,
        // A stop came while it evaluated: it is one more process that has ended.
        (C::Unmet, S::Abort | S::StopSigterm | S::StopSigkill) => T::DownToStopPostWhenQuiet,
        (C::Unmet, S::FinalSigterm | S::FinalSigkill) => T::DownToCleaningWhenQuiet,
        (C::Unmet, S::Dead | S::Failed | S::AutoRestart | S::PidFile | S::StartPost) => T::Impossible,
        (C::Unmet, S::Running | S::Exited | S::Active | S::Reload | S::ReloadNotify) => T::Impossible,
        (C::Unmet, S::Stop | S::StopPost | S::Cleaning) => T::Impossible,

        (C::Empty, S::Running) => T::MainGone,
        (C::Empty, S::Abort | S::StopSigterm | S::StopSigkill) => T::DownToStopPostWhenQuiet,
        (C::Empty, S::FinalSigterm | S::FinalSigkill) => T::DownToCleaningWhenQuiet,
        // Asked for, and overtaken by something else.
        (C::Empty, S::Dead | S::Failed | S::AutoRestart | S::Check | S::Condition) => T::Stay,
        (C::Empty, S::StartPre | S::Start | S::PidFile | S::StartPost | S::Exited) => T::Stay,
        (C::Empty, S::Active | S::Reload | S::ReloadNotify | S::Stop | S::StopPost | S::Cleaning) => T::Stay,

        (C::TimedOut, S::Dead | S::Failed) => T::IdleOver,
        (C::TimedOut, S::Check | S::Condition | S::StartPre | S::Start | S::PidFile) => T::DownBySignal,
        (C::TimedOut, S::StartPost | S::Stop) => T::DownBySignal,
        (C::TimedOut, S::Running) => T::DownByCommands,
        (C::TimedOut, S::Reload | S::ReloadNotify) => T::ReloadTimedOut,
        (C::TimedOut, S::Abort | S::StopSigterm) => T::DownByKill,
        (C::TimedOut, S::StopSigkill) => T::DownToStopPost,
        (C::TimedOut, S::StopPost) => T::DownToFinal,
        (C::TimedOut, S::FinalSigterm) => T::DownToFinalKill,
        (C::TimedOut, S::FinalSigkill) => T::DownToCleaning,
        (C::TimedOut, S::Cleaning) => T::CleaningTimedOut,
        (C::TimedOut, S::AutoRestart) => T::RestartNow,
        (C::TimedOut, S::Exited | S::Active) => T::Impossible,

        (C::Watchdog, S::StartPost | S::Running | S::Reload | S::ReloadNotify) => T::DownByAbort,
        // WATCHDOG=trigger from a process that is not up, or that ends.
        (C::Watchdog, S::Dead | S::Failed | S::AutoRestart | S::Check | S::Condition) => T::Stay,
        (C::Watchdog, S::StartPre | S::Start | S::PidFile | S::Exited | S::Active) => T::Stay,
        (C::Watchdog, S::Stop | S::Abort | S::StopSigterm | S::StopSigkill | S::StopPost) => T::Stay,
        (C::Watchdog, S::FinalSigterm | S::FinalSigkill | S::Cleaning) => T::Stay,

        (C::Ready, S::Start) => T::ReadyAtStart,
        (C::Ready, S::StartPost | S::Reload | S::ReloadNotify) => T::ReloadReady,
        // A second READY=1, or one from a process that is not asked for it.
        (C::Ready, S::Dead | S::Failed | S::AutoRestart | S::Check | S::Condition | S::StartPre) => T::Stay,
        (C::Ready, S::PidFile | S::Running | S::Exited | S::Active) => T::Stay,
        (C::Ready, S::Stop | S::Abort | S::StopSigterm | S::StopSigkill | S::StopPost) => T::Stay,
        (C::Ready, S::FinalSigterm | S::FinalSigkill | S::Cleaning) => T::Stay,

        (C::Reloading, S::Running) => T::ReloadByItself,
        (C::Reloading, S::Start | S::StartPost | S::Reload | S::ReloadNotify) => T::NoteReloading,
        (C::Reloading, S::Dead | S::Failed | S::AutoRestart | S::Check | S::Condition) => T::Stay,
        (C::Reloading, S::StartPre | S::PidFile | S::Exited | S::Active) => T::Stay,
        (C::Reloading, S::Stop | S::Abort | S::StopSigterm | S::StopSigkill | S::StopPost) => T::Stay,
        (C::Reloading, S::FinalSigterm | S::FinalSigkill | S::Cleaning) => T::Stay,

        (C::Stopping, S::Running | S::ReloadNotify) => T::StopByItself,
        (C::Stopping, S::Start | S::PidFile | S::StartPost | S::Reload) => T::NoteStopping,
        (C::Stopping, S::Dead | S::Failed | S::AutoRestart | S::Check | S::Condition) => T::Stay,
        (C::Stopping, S::StartPre | S::Exited | S::Active) => T::Stay,
        (C::Stopping, S::Stop | S::Abort | S::StopSigterm | S::StopSigkill | S::StopPost) => T::Stay,
        (C::Stopping, S::FinalSigterm | S::FinalSigkill | S::Cleaning) => T::Stay,
    }
}
