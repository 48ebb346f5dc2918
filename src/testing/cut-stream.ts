import type { EventMeter } from "../server/gateway/dialects/event-meter.ts";

/** Feeds a stream, cut at the given places, to a meter; returns what the client gets and what the meter counted. */
export function runCut(meter: EventMeter, stream: Uint8Array, cuts: readonly number[], quota: string) {
  const places = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort((a, b) => a - b);
  let through = "";
  let at = 0;
  for (const place of [...places, stream.length]) {
    if (place === at) continue;
    through += meter.push(Buffer.from(stream.subarray(at, place)))?.toString("latin1") ?? "";
    at = place;
    if (meter.done || meter.failure !== null) break;
  }
  through += meter.end()?.toString("latin1") ?? "";
  through += meter.failure === null && meter.isComplete() ? meter.closing(quota).toString("latin1") : "";
  const { usage, promptUsage, finished, failure, done } = meter;
  return { client: Buffer.from(through, "latin1").toString("utf8"), usage, promptUsage, finished, failure, done };
}
