import { createHmac } from "node:crypto";

/**
 * The headers by which a receiver verifies that Quota sent a delivery. `webhook-*` are
 * those of Standard Webhooks: one signature for each secret, whose key is the secret
 * decoded from base64. `X-Quota-Signature` is the hex HMAC-SHA256 of the body; its key
 * is the whole text of the newest secret, `whsec_` included.
 */
export function signatureHeaders(
  secrets: readonly [newest: string, ...former: string[]],
  message: { id: string; timestampSeconds: number; body: string },
): Record<string, string> {
  const { id, timestampSeconds, body } = message;
  const signed = `${id}.${timestampSeconds}.${body}`;
  return {
    "webhook-id": id,
    "webhook-timestamp": String(timestampSeconds),
    "webhook-signature": secrets
      .map(
        (secret) =>
          `v1,${createHmac("sha256", Buffer.from(secret.replace(/^whsec_/, ""), "base64"))
            .update(signed)
            .digest("base64")}`,
      )
      .join(" "),
    "x-quota-signature": createHmac("sha256", secrets[0]).update(body).digest("hex"),
  };
}
