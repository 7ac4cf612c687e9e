//! The threads that a kernel may use. They belong to who calls it: to ONNX Runtime's own pool, in a session.

/// Threads that share the tasks of a kernel.
pub trait Threads: Sync {
    /// How many tasks can run at once.
    fn count(&self) -> usize;

    /// Runs `task` for each number below `tasks`, in any order and on any thread, and returns when all have ended.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The caller's thread alone.
#[derive(Clone, Copy, Debug)]
pub struct Caller;

impl Threads for Caller {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}
