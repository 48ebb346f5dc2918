import { expect, test } from "vitest";
import { inQueue, refuseWhenFull, TooBusy } from "./hashing.ts";

/** Work that ends when the test says so. */
function held() {
  let running = 0;
  let most = 0;
  const ends: (() => void)[] = [];
  return {
    work: () =>
      new Promise<string>((resolve) => {
        most = Math.max(most, ++running);
        ends.push(() => {
          running--;
          resolve("hash");
        });
      }),
    most: () => most,
    /** Ends work until all promises have settled. */
    async endAll(all: Promise<unknown>[]) {
      let left = true;
      const over = Promise.allSettled(all).then(() => {
        left = false;
      });
      while (left) {
        for (const end of ends.splice(0)) end();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await over;
    },
  };
}

test("hashes run up to the limit and the others wait, at most 16 of one address and 64 of all", async () => {
  const { work, most, endAll } = held();
  const ask = (address: string, count: number) => Array.from({ length: count }, () => inQueue(address, work));
  const greedy = ask("203.0.113.1", 40);
  const others = Array.from({ length: 100 }, (_each, index) => ask(`198.51.100.${index}`, 1)).flat();
  expect(() => refuseWhenFull("192.0.2.1")).toThrow(TooBusy);
  // Those over the limits are refused at once, while the others still wait.
  const refused = await Promise.all(
    [greedy, others].map((asked) =>
      Promise.all(
        asked.map((each) =>
          Promise.race([
            each.then(
              () => false,
              (error) => error instanceof TooBusy,
            ),
            new Promise<boolean>((resolve) => setImmediate(() => resolve(false))),
          ]),
        ),
      ),
    ),
  );
  expect(refused.map((each) => each.filter((busy) => !busy).length)).toEqual([16, 48]);
  await endAll([...greedy, ...others]);
  expect(most()).toBeLessThanOrEqual(3);
  expect(await inQueue("203.0.113.1", async () => "later")).toBe("later");
});

test("a hash that fails frees its slot", async () => {
  const fail = () =>
    inQueue("203.0.113.2", async () => {
      throw new Error("no memory");
    });
  for (let n = 0; n < 80; n++) await expect(fail()).rejects.toThrow("no memory");
  expect(await inQueue("203.0.113.2", async () => "hash")).toBe("hash");
});
