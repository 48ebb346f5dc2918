/** The periods of reports. Each begins with a day (UTC), so that its figures are those of `/v1/usage`. */
export const periods = ["today", "7d", "30d", "90d"] as const;
export type PeriodName = (typeof periods)[number];
export type Period = { name: PeriodName; from: Date /** What one step of a chart stands for. */; step: "hour" | "day" };

const HOUR_MS = 60 * 60 * 1000;
export const DAY_MS = 24 * HOUR_MS;
const days: Record<PeriodName, number> = { today: 1, "7d": 7, "30d": 30, "90d": 90 };

/** The period that ends now, today included. */
export function periodUntil(name: PeriodName, now = new Date()): Period {
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  return { name, from: new Date(today - (days[name] - 1) * DAY_MS), step: name === "today" ? "hour" : "day" };
}

/** The steps of a period up to now, named as the groups of sums.ts are. */
export function stepsOf(period: Period, now = new Date()): string[] {
  const steps: string[] = [];
  const stepMs = period.step === "hour" ? HOUR_MS : DAY_MS;
  for (let at = period.from.getTime(); at <= now.getTime(); at += stepMs) {
    const moment = new Date(at).toISOString();
    steps.push(period.step === "hour" ? moment : moment.slice(0, 10));
  }
  return steps;
}
