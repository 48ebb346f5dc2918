import { expect, test } from "vitest";
import { MinuteCounts } from "./minute-counts.ts";

test("each name has its limit in the minute from its first request, and the same limit in the next minute", () => {
  let now = 1_000;
  const counts = new MinuteCounts(2, { now: () => now });
  expect(counts.isUsedUp("a")).toBe(false);
  expect(counts.take("a")).toMatchObject({ limit: 2, remaining: 1, exceeded: false, msLeft: 60_000 });
  now += 20_000;
  expect(counts.take("a")).toMatchObject({ remaining: 0, exceeded: false, msLeft: 40_000 });
  expect(counts.isUsedUp("a")).toBe(true);
  expect(counts.take("a")).toMatchObject({ remaining: 0, exceeded: true, msLeft: 40_000 });
  expect(counts.take("b")).toMatchObject({ remaining: 1, exceeded: false, msLeft: 60_000 });
  now += 40_000;
  expect(counts.isUsedUp("a")).toBe(false);
  expect(counts.take("a")).toMatchObject({ remaining: 1, exceeded: false, msLeft: 60_000 });
});

test("any number of names takes bounded memory, and counts of past minutes are evicted", () => {
  let now = 0;
  const counts = new MinuteCounts(1, { most: 10, now: () => now });
  for (let name = 0; name < 1_000; name++) counts.take(`n${name}`);
  expect(counts.size).toBe(10);
  expect(counts.take("n999")).toMatchObject({ exceeded: true });
  expect(counts.take("n0")).toMatchObject({ exceeded: false });
  now += 60_000;
  counts.take("later");
  expect(counts.size).toBe(1);
});
