const LOOK_EVERY_MS = 500;

/**
 * Resolves when the process that started this one is gone, which counts only for a
 * start by npm: told to stop, npm ends its shell, and the shell does not tell what
 * it started. Otherwise it never resolves: a server may outlive the terminal it was
 * started in.
 */
export function parentGone(): Promise<void> {
  if (process.env.npm_lifecycle_event === undefined) return new Promise(() => {});
  const parent = process.ppid;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(timer);
      resolve();
    }, LOOK_EVERY_MS);
    timer.unref();
  });
}
