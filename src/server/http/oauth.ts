import type { IncomingMessage, ServerResponse } from "node:http";
import { answerOAuth, type OwnAnswer, refusedBody } from "../connect/answer.ts";
import { BufferedResponse, nodeRequest } from "../connect/node-exchange.ts";
import type { SignedIn } from "../connect/sign-in.ts";
import { AppError } from "../platform/errors.ts";
import { withBody } from "./body-limit.ts";
import { announcesBody, fromNode, fromRequest, sendNode, toResponse } from "./exchange.ts";

/**
 * The authorization server's two mounts. Quota's server passes node's request and response to oidc-provider, a Koa
 * application (`serveOAuth`). The routes of src/app (`oauthRoute`) are for plain `next start`, and for paths that Next
 * normalizes first; they buffer the request and the answer.
 */

/** The user whom the session in these cookies signs in; null without a session. */
export type FindSignedIn = (cookieHeader: string) => Promise<SignedIn | null>;

const LARGEST_BODY_BYTES = 64 * 1024;

const MOUNTED = /^\/(?:oauth(?:\/[\w-]+)+|\.well-known\/(?:jwks\.json|openid-configuration|oauth-authorization-server))(?:\?|$)/;

/**
 * Whether `serveOAuth` answers a request target. It does not for paths with a doubled or trailing slash, dot segments or
 * percent-encoding: Next redirects these to the normalized path, or routes them to src/app.
 */
export function isOAuth(target: string): boolean {
  return MOUNTED.test(target);
}

/**
 * Answers a request of node's server. The caller has run `trustAddress`. When no byte of the body arrives for
 * `bodyIdleMs`, the answer is 408.
 */
export async function serveOAuth(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  from: { signedIn: FindSignedIn; bodyIdleMs: number },
): Promise<void> {
  const answer = await answerOAuth(incoming, outgoing, {
    address: addressIn(incoming.headers["x-forwarded-for"]),
    person: () => from.signedIn(incoming.headers.cookie ?? ""),
    withBody: () => bounded(incoming, outgoing, from.bodyIdleMs),
  });
  if (answer !== null) await sendNode(answer, incoming, outgoing);
}

/** A route handler for Next. */
export function oauthRoute(signedIn: FindSignedIn): (request: Request) => Promise<Response> {
  return async (request) => {
    const head = nodeRequest(request, null);
    const outgoing = new BufferedResponse(head);
    const answer = await answerOAuth(head, outgoing, {
      address: addressIn(request.headers.get("x-forwarded-for") ?? undefined),
      person: () => signedIn(request.headers.get("cookie") ?? ""),
      async withBody() {
        if (request.method !== "POST") return head;
        const body = await fromRequest(request).read(LARGEST_BODY_BYTES);
        return body === "too_large" ? tooLarge() : nodeRequest(request, Buffer.from(body));
      },
    });
    return answer === null ? outgoing.toResponse(request.method) : toResponse(answer);
  };
}

async function bounded(incoming: IncomingMessage, outgoing: ServerResponse, bodyIdleMs: number): Promise<IncomingMessage | OwnAnswer> {
  if (!announcesBody(incoming)) return incoming;
  try {
    const body = await fromNode(incoming, outgoing, { bodyIdleMs }).read(LARGEST_BODY_BYTES);
    return body === "too_large" ? tooLarge() : withBody(incoming, body);
  } catch (error) {
    // After `bad_request` the client has disconnected and gets no answer, whichever it is.
    if (!(error instanceof AppError)) throw error;
    return refusedBody(408, "The rest of the request did not arrive in time.");
  }
}

function tooLarge(): OwnAnswer {
  return refusedBody(413, `The request body is larger than ${LARGEST_BODY_BYTES} bytes.`);
}

function addressIn(forwarded: string | string[] | undefined): string {
  const [first = ""] = [forwarded ?? []].flat();
  return first.split(",")[0]?.trim() || "unknown";
}
