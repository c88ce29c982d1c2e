// npm's smtp-server on a free port of 127.0.0.1, for the tests of sign-in. Its settings are the JSON in the first argument. It prints its port, and then a
// line of JSON for each letter: how its sender signed in, as whom, and for whom it is.
'use strict';

const fs = require('fs');
const http = require('http');
const { SMTPServer } = require('smtp-server');

const settings = JSON.parse(process.argv[2]);
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');

// RFC 7662.
function introspect(token, done) {
    const body = 'token=' + encodeURIComponent(token);
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', 'Content-Length': Buffer.byteLength(body) };
    const request = http.request(settings.introspection, { method: 'POST', headers }, (response) => {
        let text = '';
        response.on('data', (piece) => (text += piece));
        response.on('end', () => done(null, JSON.parse(text)));
    });
    request.on('error', done);
    request.end(body);
}

const server = new SMTPServer({
    key: fs.readFileSync(settings.key),
    cert: fs.readFileSync(settings.cert),
    authMethods: ['PLAIN', 'LOGIN', 'CRAM-MD5', 'XOAUTH2'],
    disableReverseLookup: true,
    onAuth(auth, session, done) {
        const user = auth.username;
        const verdict = (right) => {
            session.signedInBy = auth.method;
            done(null, right && user === settings.user ? { user } : { message: 'user name or password is wrong' });
        };
        if (auth.method === 'XOAUTH2') {
            return introspect(auth.accessToken, (error, said) => {
                if (error) return done(error);
                session.signedInBy = auth.method;
                if (said.active && said.username === user && user === settings.user) return done(null, { user });
                return done(null, { data: { status: '401', schemes: 'bearer mac', scope: said.scope || 'mail' } });
            });
        }
        return verdict(auth.method === 'CRAM-MD5' ? auth.validatePassword(settings.password) : auth.password === settings.password);
    },
    onData(stream, session, done) {
        stream.resume();
        stream.on('end', () => {
            say({ method: session.signedInBy, user: session.user, to: session.envelope.rcptTo.map((to) => to.address) });
            done(null, 'taken');
        });
    },
});
server.on('error', (error) => process.stderr.write(error.message + '\n'));
server.listen(0, '127.0.0.1', () => say({ port: server.server.address().port }));
