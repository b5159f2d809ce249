// oauth4webapi, unmodified, as an app. One command a run; the test plays the browser in between:
//   start ISSUER CLIENT SECRET REDIRECT              -> {address, verifier, nonce, state}
//   finish ISSUER CLIENT SECRET REDIRECT LANDED STARTED -> {claims, userinfo, refreshed, ...}
//   device ISSUER CLIENT                             -> prints the user code, then the tokens
import * as oauth from "oauth4webapi";

const [command, issuer, clientId, secret, redirect, landed, started] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);
const as = await oauth
  .discoveryRequest(url, { algorithm: process.env.ALGORITHM ?? "oidc", ...insecure })
  .then((response) => oauth.processDiscoveryResponse(url, response));
const client = { client_id: clientId };
const auth = secret ? oauth.ClientSecretPost(secret) : oauth.None();

async function start() {
  const verifier = oauth.generateRandomCodeVerifier();
  const nonce = oauth.generateRandomNonce();
  const state = oauth.generateRandomState();
  const address = new URL(as.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: clientId,
    redirect_uri: redirect,
    response_type: "code",
    scope: "openid profile repo:read",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    nonce,
    state,
  })) {
    address.searchParams.set(name, value);
  }
  return { address: address.href, verifier, nonce, state };
}

async function finish() {
  const { verifier, nonce, state } = JSON.parse(started);
  const parameters = oauth.validateAuthResponse(as, client, new URL(landed), state);
  const response = await oauth.authorizationCodeGrantRequest(
    as, client, auth, parameters, redirect, verifier, insecure,
  );
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, {
    expectedNonce: nonce,
    requireIdToken: true,
    maxAge: 3600,
  });
  await oauth.validateApplicationLevelSignature(as, response, insecure);
  const claims = oauth.getValidatedIdTokenClaims(tokens);
  const userinfo = await oauth.processUserInfoResponse(
    as, client, claims.sub,
    await oauth.userInfoRequest(as, client, tokens.access_token, insecure),
  );
  const refreshed = await oauth.processRefreshTokenResponse(
    as, client,
    await oauth.refreshTokenGrantRequest(as, client, auth, tokens.refresh_token, insecure),
  );
  const result = { claims, userinfo, tokens, refreshed };
  if (secret) {
    result.introspection = await oauth.processIntrospectionResponse(
      as, client,
      await oauth.introspectionRequest(as, client, auth, refreshed.access_token, insecure),
    );
  }
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(as, client, auth, refreshed.refresh_token, insecure),
  );
  return result;
}

async function device() {
  const asked = new URLSearchParams({ scope: "openid repo:read" });
  const codes = await oauth.processDeviceAuthorizationResponse(
    as, client,
    await oauth.deviceAuthorizationRequest(as, client, auth, asked, insecure),
  );
  console.log(codes.user_code);
  await new Promise((resolve) => process.stdin.once("data", resolve)); // the person has decided
  const response = await oauth.deviceCodeGrantRequest(
    as, client, auth, codes.device_code, insecure,
  );
  const tokens = await oauth.processDeviceCodeResponse(as, client, response);
  await oauth.validateApplicationLevelSignature(as, response, insecure);
  return { claims: oauth.getValidatedIdTokenClaims(tokens), tokens };
}

console.log(JSON.stringify(await { start, finish, device }[command]()));
process.exit(0);
