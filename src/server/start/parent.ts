const POLL_MS = 500;

/** Read when the process starts, because the parent may end before `parentGone` is called. */
const parent = process.ppid;

/**
 * Resolves when the parent process has ended, if that was a script of npm: on a signal npm
 * ends its shell, and the shell does not forward the signal. Otherwise it never resolves,
 * because a server may outlive the terminal that it was started in.
 */
export function parentGone(): Promise<void> {
  if (process.env.npm_lifecycle_event === undefined) return new Promise(() => {});
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(timer);
      resolve();
    }, POLL_MS);
    timer.unref();
  });
}
