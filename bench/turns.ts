/**
 * `node --import` this in front of a server, which then answers the message `turns` with the worst since the last time:
 * how long its main thread was busy without a pause, by its own clock of processor time. What other processes
 * take of the machine does not count.
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
