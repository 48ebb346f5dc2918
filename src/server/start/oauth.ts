import type { IncomingMessage, ServerResponse } from "node:http";
import { serveOAuth } from "../http/oauth.ts";
import { connectHeaders, pageHeaders } from "../http/page-headers.ts";
import { signedInBy } from "../people/signed-in.ts";
import { movedToOwnAddress } from "./own-address.ts";

const METADATA_HEADERS = Object.entries(pageHeaders());
const OAUTH_HEADERS = Object.entries(connectHeaders());

/** Answers the authorization server's requests, whose address is found out already, with the headers that pages have. */
export async function answerOAuth(incoming: IncomingMessage, outgoing: ServerResponse, limits: { bodyIdleMs: number }): Promise<void> {
  if (await movedToOwnAddress(incoming, outgoing)) return;
  const headers = incoming.url?.startsWith("/oauth/") ? OAUTH_HEADERS : METADATA_HEADERS;
  for (const [name, value] of headers) outgoing.setHeader(name, value);
  await serveOAuth(incoming, outgoing, { signedIn: signedInBy, bodyIdleMs: limits.bodyIdleMs });
}
