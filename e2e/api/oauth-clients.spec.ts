import { OAuth2Client } from "@badgateway/oauth2-client";
import * as oauth from "oauth4webapi";
import * as oidc from "openid-client";
import { expect, test } from "../fixtures.ts";
import { authorizeUrl, INACTIVE, makeClient, makePerson, originOf, pkce, Visitor } from "../oauth.ts";

test.describe("third-party libraries", () => {
  test("openid-client completes the flow: discovery, PKCE, nonce, id_token, userinfo, refresh, introspection, revocation", async ({
    postgresServer: server,
  }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const config = await oidc.discovery(new URL(originOf(server)), client.clientId, undefined, oidc.ClientSecretBasic(client.secret), {
      execute: [oidc.allowInsecureRequests],
    });
    const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
    const [expectedState, expectedNonce] = [oidc.randomState(), oidc.randomNonce()];
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: client.redirectUri,
      scope: "openid profile email credits.read credits.spend",
      code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
      state: expectedState,
      nonce: expectedNonce,
    });
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const back = await visitor.decide(await visitor.begin(url.href));
    const issued = await oidc.authorizationCodeGrant(config, back, {
      pkceCodeVerifier,
      expectedState,
      expectedNonce,
      idTokenExpected: true,
    });
    const claims = issued.claims();
    expect(claims).toMatchObject({ sub: person.id, aud: client.clientId, iss: originOf(server), nonce: expectedNonce });
    expect((claims?.exp ?? 0) - (claims?.iat ?? 0)).toBe(3600);
    expect(issued.expires_in).toBe(3600);
    expect((await oidc.fetchUserInfo(config, issued.access_token, person.id)).email).toBe(person.email);
    const renewed = await oidc.refreshTokenGrant(config, issued.refresh_token as string);
    expect((await oidc.tokenIntrospection(config, renewed.access_token)).active).toBe(true);
    await oidc.tokenRevocation(config, renewed.refresh_token as string);
    expect(await oidc.tokenIntrospection(config, renewed.access_token)).toEqual(INACTIVE);
  });

  test("oauth4webapi completes the flow as a public client, and verifies the id_token against the JWKS", async ({
    postgresServer: server,
  }) => {
    const person = await makePerson(server.db);
    const registered = await makeClient(server.db, { publicClient: true });
    const insecure = { [oauth.allowInsecureRequests]: true };
    const issuer = new URL(originOf(server));
    const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: "oauth2" }));
    const client: oauth.Client = { client_id: registered.clientId };
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const page = await visitor.begin(
      authorizeUrl(server, registered, await oauth.calculatePKCECodeChallenge(verifier), { scope: "openid credits.spend", state }),
    );
    const parameters = oauth.validateAuthResponse(as, client, await visitor.decide(page), state);
    const response = await oauth.authorizationCodeGrantRequest(
      as,
      client,
      oauth.None(),
      parameters,
      registered.redirectUri,
      verifier,
      insecure,
    );
    const issued = await oauth.processAuthorizationCodeResponse(as, client, response, { requireIdToken: true });
    await oauth.validateApplicationLevelSignature(as, response, insecure);
    expect(oauth.getValidatedIdTokenClaims(issued)?.sub).toBe(person.id);
    expect(issued.scope).toBe("openid credits.spend");
  });

  for (const authenticationMethod of ["client_secret_basic", "client_secret_basic_interop", "client_secret_post"] as const) {
    test(`@badgateway/oauth2-client completes the flow with ${authenticationMethod}: discovery, PKCE, refresh, introspection, revocation`, async ({
      postgresServer: server,
    }) => {
      const person = await makePerson(server.db);
      const registered = await makeClient(server.db);
      const client = new OAuth2Client({
        server: originOf(server),
        discoveryEndpoint: "/.well-known/oauth-authorization-server",
        clientId: registered.clientId,
        clientSecret: registered.secret,
        authenticationMethod,
      });
      const { verifier: codeVerifier } = pkce();
      const state = crypto.randomUUID();
      const { redirectUri } = registered;
      const url = await client.authorizationCode.getAuthorizeUri({
        redirectUri,
        state,
        codeVerifier,
        scope: ["credits.read", "credits.spend"],
      });
      const visitor = new Visitor(server);
      await visitor.signIn(person);
      const back = await visitor.decide(await visitor.begin(url));
      const issued = await client.authorizationCode.getTokenFromCodeRedirect(back.href, { redirectUri, state, codeVerifier });
      expect((issued.expiresAt ?? 0) - Date.now()).toBeGreaterThan(3_500_000);
      expect(await client.introspect(issued)).toMatchObject({ active: true, client_id: registered.clientId, sub: person.id });

      const renewed = await client.refreshToken(issued);
      expect(renewed.refreshToken).not.toBe(issued.refreshToken);
      expect((await client.introspect(renewed)).active).toBe(true);
      await client.revoke(renewed, "refresh_token");
      expect(await client.introspect(renewed)).toEqual(INACTIVE);
      await expect(client.refreshToken(renewed)).rejects.toMatchObject({ oauth2Code: "invalid_grant" });
    });
  }

  test("@badgateway/oauth2-client gets access_denied after a denied consent", async ({ postgresServer: server }) => {
    const registered = await makeClient(server.db);
    const client = new OAuth2Client({ server: originOf(server), clientId: registered.clientId });
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const back = await visitor.decide(await visitor.begin(authorizeUrl(server, registered, pkce().challenge)), { decision: "cancel" });
    expect(() => client.authorizationCode.validateResponse(back.href, {})).toThrow(
      expect.objectContaining({ oauth2Code: "access_denied" }),
    );
  });
});
