import { expect, test, vi } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { makeApp, makeUser } from "#testing/makers.ts";
import { mailOwner } from "./deliveries.ts";

const db = withDatabase("embedded");

test("the owner of a disabled endpoint gets a mail with its address and a link to its settings", async () => {
  const owner = await makeUser(db());
  const app = await makeApp(db(), { ownerId: owner.id });
  // Without a mail server mails are written to the output.
  const output = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    await mailOwner(db(), { id: "an endpoint", appId: app.id, url: "https://example.com/hook", reason: "failing" });
    const written = output.mock.calls.flat().join("\n");
    for (const part of [owner.email, app.name, "https://example.com/hook", `/dashboard/${app.id}/webhooks`])
      expect(written).toContain(part);
    expect(written).toContain("five days");
    output.mockClear();
    await mailOwner(db(), { id: "an endpoint", appId: app.id, url: "https://example.com/hook", reason: "gone" });
    expect(output.mock.calls.flat().join("\n")).toContain("answered 410 Gone");
    output.mockClear();
    await db().prisma.user.update({ where: { id: owner.id }, data: { deletedAt: new Date() } });
    await mailOwner(db(), { id: "an endpoint", appId: app.id, url: "https://example.com/hook", reason: "failing" });
    expect(output.mock.calls).toEqual([]);
  } finally {
    output.mockRestore();
  }
});
