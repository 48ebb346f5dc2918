import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";
import { clients } from "./scenarios.ts";

/** What a scenario should leave in the usage log: so many requests at least, each complete and with a price. */
const REQUESTS = { json: 1, stream: 1, tools: 2, structured: 1, error: 0 } as const;

for (const client of clients) {
  test.describe(client.name, () => {
    for (const [name, scenario] of Object.entries(client.scenarios)) {
      test(`${name}: works at its default settings, and each answer is billed once`, async ({ postgresServer: server }) => {
        // A sandbox key is answered by the simulator.
        const world = await arrange(server.db, { billingMode: "test" });
        await scenario({ url: server.url, key: world.key.secret });
        const usage = await world.usage();
        expect(usage.length).toBeGreaterThanOrEqual(REQUESTS[name as keyof typeof REQUESTS]);
        for (const { outcome, base, countedBy } of usage) {
          expect([outcome, countedBy]).toEqual(["completed", "provider"]);
          expect(base).toBeGreaterThan(0n);
        }
      });
    }
  });
}
