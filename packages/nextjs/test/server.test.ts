import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { getQuotaUser } from "../src/server.ts";

test("a script or a job, which has no request, looks a user up by the app's own id", async () => {
  const quota = createServer((_request, response) => {
    const user = { id: "u", email: "ada@example.com", balance: 5 };
    response.setHeader("content-type", "application/json").end(JSON.stringify({ user, linked_at: "2026-11-22T10:00:00.000Z" }));
  });
  await new Promise<void>((resolve) => quota.listen(0, "127.0.0.1", resolve));
  try {
    const baseUrl = `http://127.0.0.1:${(quota.address() as AddressInfo).port}`;
    const options = { clientId: "quota_client_x", clientSecret: "quota_secret_y", apiKey: "sk-quota-z", baseUrl };
    expect(await getQuotaUser({ ...options, externalUserId: "ada" })).toMatchObject({ externalUserId: "ada", balance: 5 });
    expect(await getQuotaUser({ ...options, externalUserId: undefined })).toBeNull();
  } finally {
    quota.closeAllConnections();
    quota.close();
  }
});
