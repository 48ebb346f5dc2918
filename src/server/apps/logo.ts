/** A logo is a small picture in a data: address, so that showing it makes no request to another server. */

/** Enough for a picture of 128 by 128 pixels. */
export const LARGEST_LOGO_BYTES = 32 * 1024;

const SIGNATURES = {
  "image/png": /^\x89PNG\r\n/,
  "image/jpeg": /^\xff\xd8\xff/,
  "image/webp": /^RIFF[\s\S]{4}WEBP/,
} as const;

/** Why this can't be a logo, or null when it can. The first bytes tell the format; SVG, which can have scripts, is not allowed. */
export function logoProblem(address: string): string | null {
  const match = /^data:(image\/(?:png|jpeg|webp));base64,([A-Za-z0-9+/]+={0,2})$/.exec(address);
  if (match === null) return "Choose a PNG, JPEG or WebP picture.";
  if (((match[2] as string).length * 3) / 4 > LARGEST_LOGO_BYTES) return "This picture is too large. Choose a simpler one.";
  const first = atob((match[2] as string).slice(0, 32));
  return SIGNATURES[match[1] as keyof typeof SIGNATURES].test(first) ? null : "This file is not the picture that its name says.";
}
