#!/usr/bin/env bash
# Versions: oidc-provider 9.13.3, Node 22 or newer (20 works, with a warning).
#
# Behaviour: its revokeGrantPolicy answers no by default when an access token is sent to the
# revocation endpoint (RFC 7009), which reads as if the rest of the grant lived on. It does
# not: the other access tokens and the refresh token of the grant are gone as well, and only
# the Grant itself is still stored: a consent that looks current, and no token by which the app
# could act on it. Sending the refresh token instead removes the Grant too.
#
# Output seen:
#   revoked AccessToken: Grant kept, AccessToken gone, second AccessToken gone, RefreshToken gone
#   revoked RefreshToken: Grant gone, AccessToken gone, second AccessToken gone, RefreshToken gone
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > package.json <<'JSON'
{ "private": true, "type": "module" }
JSON
npm install --silent --no-audit --no-fund --save-exact oidc-provider@9.13.3 > install.log 2>&1 || { cat install.log; exit 1; }
cat > show.mjs <<'JS'
import { createServer } from "node:http";
import Provider from "oidc-provider";

const stored = new Map();
class Memory {
  constructor(model) {
    this.model = model;
  }
  async upsert(id, payload) {
    stored.set(`${this.model} ${id}`, payload);
  }
  async find(id) {
    return stored.get(`${this.model} ${id}`);
  }
  async destroy(id) {
    stored.delete(`${this.model} ${id}`);
  }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) if (key.startsWith(`${this.model} `) && payload.grantId === grantId) stored.delete(key);
  }
}

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
console.warn = console.info = () => {};
const provider = new Provider(issuer, {
  adapter: Memory,
  clients: [
    {
      client_id: "app",
      client_secret: "a-secret-of-the-example-app",
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [`${issuer}/callback`],
    },
  ],
  features: { revocation: { enabled: true }, devInteractions: { enabled: false } },
  scopes: ["openid", "offline_access"],
  cookies: { keys: ["a-key-of-the-example"] },
});
server.on("request", provider.callback());

for (const kind of ["AccessToken", "RefreshToken"]) {
  const client = await provider.Client.find("app");
  const grant = new provider.Grant({ accountId: "person", clientId: "app" });
  grant.addOIDCScope("openid offline_access");
  const grantId = await grant.save(600);
  const common = { accountId: "person", client, grantId, scope: "openid offline_access", gty: "authorization_code" };
  const access = await new provider.AccessToken(common).save(600);
  const other = await new provider.AccessToken(common).save(600);
  const refresh = await new provider.RefreshToken(common).save(600);
  const response = await fetch(`${issuer}/token/revocation`, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from("app:a-secret-of-the-example-app").toString("base64")}` },
    body: new URLSearchParams({ token: kind === "AccessToken" ? access : refresh }),
  });
  if (response.status !== 200) throw new Error(`the revocation was answered with ${response.status}`);
  const state = async (model, id) => ((await provider[model].find(id)) === undefined ? "gone" : "kept");
  console.log(
    `revoked ${kind}: Grant ${await state("Grant", grantId)}, AccessToken ${await state("AccessToken", access)}, second AccessToken ${await state("AccessToken", other)}, RefreshToken ${await state("RefreshToken", refresh)}`,
  );
}
server.close();
server.closeAllConnections();
JS
node show.mjs > seen.txt
cat seen.txt
diff seen.txt - <<'TXT'
revoked AccessToken: Grant kept, AccessToken gone, second AccessToken gone, RefreshToken gone
revoked RefreshToken: Grant gone, AccessToken gone, second AccessToken gone, RefreshToken gone
TXT
echo "as described"
