import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";
import { clients } from "./scenarios.ts";

/** The fewest requests that a scenario leaves in the usage log. */
const FEWEST_REQUESTS = { json: 1, stream: 1, tools: 2, structured: 1, error: 0 } as const;

for (const client of clients) {
  test.describe(client.name, () => {
    for (const [name, scenario] of Object.entries(client.scenarios)) {
      test(`${name}: works at default settings, and its requests are billed by the provider's token counts`, async ({
        postgresServer: server,
      }) => {
        // Requests with `test` keys are answered by the simulator.
        const world = await arrange(server.db, { billingMode: "test" });
        await scenario({ url: server.url, key: world.key.secret });
        const usage = await world.usage();
        expect(usage.length).toBeGreaterThanOrEqual(FEWEST_REQUESTS[name as keyof typeof FEWEST_REQUESTS]);
        for (const { outcome, base, countedBy } of usage) {
          expect([outcome, countedBy]).toEqual(["completed", "provider"]);
          expect(base).toBeGreaterThan(0n);
        }
      });
    }
  });
}
