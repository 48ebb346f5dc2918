/**
 * A module for `node --import` before a server, which then answers the message `turns` with the longest time since the
 * last one that its main thread was busy without a pause. Measured in CPU time of the thread, so that other processes
 * of the machine do not count.
 */
const EVERY_MS = 5;

let worst = 0;
let before = used();
setInterval(() => {
  const now = used();
  worst = Math.max(worst, now - before);
  before = now;
}, EVERY_MS).unref();

process.on("message", (message) => {
  if (message !== "turns") return;
  process.send?.({ worstTurnMs: worst });
  worst = 0;
});
process.channel?.unref();

function used(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
