//! Why a start can't go on: the step, the errno, and what it is about.

use hostel_contract::exec::ExecStep;
use rustix::io::Errno;

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which step; its code becomes the exit status.
    pub step: ExecStep,
    /// What the kernel said; 0 where it was not asked.
    pub errno: i32,
    /// The file, user or setting.
    pub text: String,
}

impl Failure {
    /// A failure with no errno of the kernel's.
    pub fn new(step: ExecStep, text: impl Into<String>) -> Self {
        Failure { step, errno: 0, text: text.into() }
    }

    /// A failure with the errno that stands for it.
    pub fn with(step: ExecStep, errno: Errno, text: impl Into<String>) -> Self {
        Failure { step, errno: errno.raw_os_error(), text: text.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step.name(), self.text)?;
        match self.errno {
            0 => Ok(()),
            errno => write!(f, ": {}", reason(errno)),
        }
    }
}

/// An errno in words.
pub fn reason(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    // std adds ` (os error 13)`, which tells an administrator nothing.
    text.rsplit_once(" (os error").map_or(text.clone(), |(words, _)| words.to_string())
}

/// Turns an error of the kernel into a [`Failure`] of a step.
pub trait At<T> {
    /// The value, or a failure of `step` about `text`.
    fn at(self, step: ExecStep, text: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: ExecStep, text: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|errno| Failure::with(step, errno, text()))
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, step: ExecStep, text: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|e| Failure { step, errno: e.raw_os_error().unwrap_or(0), text: text() })
    }
}
