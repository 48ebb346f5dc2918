import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { inEveryZone, withDatabase } from "#testing/database.ts";
import { claimTurn } from "./turns.ts";

const HOUR = 3_600_000;
const usual = { keepMs: HOUR, longestMs: 24 * HOUR };

inEveryZone("turns", (db) => {
  const named = () => `test_${randomUUID()}`;
  const claim = (name: string, options = usual) => claimTurn<{ at: string }>(db().sql, name, options);
  const due = (name: string) => db().prisma.setting.findUniqueOrThrow({ where: { key: `turn_${name}` } });

  test("one of many processes claims the work, and the next when it is due", async () => {
    const name = named();
    const first = await Promise.all(Array.from({ length: 8 }, () => claim(name)));
    expect(first.filter((turn) => turn !== null)).toHaveLength(1);
    expect(await claim(name)).toBeNull();
    await first.find((turn) => turn !== null)?.end(HOUR);
    expect(await claim(name)).toBeNull();
    // Work of another name can be claimed.
    expect(await claim(named())).not.toBeNull();
  });

  test("a turn finds what the last one stored, also when the one between stored nothing", async () => {
    const name = named();
    const first = await claim(name);
    expect(first?.memory).toBeNull();
    await first?.end(0, { at: "here" });
    const second = await claim(name);
    expect(second?.memory).toEqual({ at: "here" });
    await second?.end(0);
    expect((await claim(name))?.memory).toEqual({ at: "here" });
  });

  test("a dead process keeps its claim until the lease ends, and changes nothing after that", async () => {
    const name = named();
    const dead = await claim(name, { ...usual, keepMs: 0 });
    const next = await claim(name);
    expect(next).not.toBeNull();
    const { value } = await due(name);
    expect(await dead?.keep(9 * HOUR)).toBe(false);
    await dead?.end(9 * HOUR, { at: "the grave" });
    expect((await due(name)).value).toEqual(value);
    expect(await next?.keep(0)).toBe(true);
    const third = await claim(name);
    expect(third?.memory).toBeNull();
    expect(await claim(name)).toBeNull();
  });

  test("a due time further away than the longest wait counts as due", async () => {
    const name = named();
    await (await claim(name))?.end(25 * HOUR);
    expect(await claim(name)).not.toBeNull();
    await (await claim(name, { ...usual, longestMs: 0 }))?.end(23 * HOUR);
    expect(await claim(name)).toBeNull();
  });
});

describe("turns of many connections", () => {
  const db = withDatabase("postgres");

  test("of several connections that claim at once, one gets the turn", async () => {
    const lanes = Array.from({ length: 6 }, () => db().lane());
    for (let round = 0; round < 10; round++) {
      const turns = await Promise.all(lanes.map((lane) => claimTurn(lane, "test", usual)));
      expect(turns.filter((turn) => turn !== null)).toHaveLength(1);
      await turns.find((turn) => turn !== null)?.end(0);
    }
  });
});
