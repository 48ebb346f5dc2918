const LOOK_EVERY_MS = 500;

/** From the beginning: it may be gone before anybody asks. */
const parent = process.ppid;

/**
 * Resolves when the process that started this one is gone, which counts only within
 * a script of npm: told to stop, npm ends its shell, and the shell does not tell what
 * it started. Otherwise it never resolves: a server may outlive the terminal it was
 * started in.
 */
export function parentGone(): Promise<void> {
  if (process.env.npm_lifecycle_event === undefined) return new Promise(() => {});
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(timer);
      resolve();
    }, LOOK_EVERY_MS);
    timer.unref();
  });
}
