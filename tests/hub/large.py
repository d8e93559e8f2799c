"Large files, by their sha256, in a folder: uploaded in one piece or in parts to URLs that need no token, and never a token."
import hashlib, os, secrets
from tests.hub.repository import Refusal

chunk_size = 16 * 2**20  # bytes; larger files are uploaded in parts of this size


class LargeFiles:
    "The part of the Hub that others run for it: another host, whose URLs carry their own signature."
    def __init__(self, folder): self.folder,self.url,self.signature = folder,'',secrets.token_hex(16)

    def path(self, sha256):
        "Where a file lies."
        return self.folder/sha256

    def signed(self, *parts):
        "A URL of this host."
        return f"{self.url}/{'/'.join(map(str, parts))}?X-Signature={self.signature}"

    def check(self, query, headers):
        "Refuse what a real store of large files refuses: no signature, or a token beside it."
        if 'Authorization' in headers: raise Refusal(400, message='Only one auth mechanism allowed')
        if query.get('X-Signature') != [self.signature]: raise Refusal(403, message='AccessDenied')

    def actions(self, asked, hub_url, repo):
        "How to upload one file; nothing to do for one that is there."
        sha256,size = asked['oid'],asked['size']
        if self.path(sha256).exists(): return asked
        verify = {'href': f'{hub_url}/{repo}.git/info/lfs/verify'}
        if size <= chunk_size: return {**asked, 'actions': {'upload': {'href': self.signed('upload', sha256)}, 'verify': verify}}
        parts = {str(n + 1): self.signed('part', sha256, n) for n in range(-(-size // chunk_size))}
        complete = f'{hub_url}/{repo}.git/info/lfs/complete/{sha256}'
        return {**asked, 'actions': {'upload': {'href': complete, 'header': {'chunk_size': str(chunk_size), **parts}}, 'verify': verify}}

    def part(self, sha256, n, chunks):
        "Keep a part of a file; its MD5 as an etag."
        etag,draft = self._draft(chunks)
        os.replace(draft, self.path(f'{sha256}.{n}'))
        return etag

    def upload(self, sha256, chunks):
        "Keep a whole file, if it is what its name says."
        etag,draft = self._draft(chunks)
        self._name(draft, sha256)
        return etag

    def complete(self, sha256, parts):
        "Make one file of the parts that were uploaded, `parts` of them."
        pieces = [self.path(f'{sha256}.{n}') for n in range(parts)]
        _,draft = self._draft(piece.read_bytes() for piece in pieces)
        self._name(draft, sha256)
        for piece in pieces: piece.unlink(missing_ok=True)

    def _draft(self, chunks):
        digest,draft = hashlib.md5(),self.folder/secrets.token_hex(8)
        with draft.open('wb') as file:
            for chunk in chunks: file.write(chunk); digest.update(chunk)
        return f'"{digest.hexdigest()}"',draft

    def _name(self, draft, sha256):
        with draft.open('rb') as file: is_right = sha256_of(file) == sha256
        if is_right: return os.replace(draft, self.path(sha256))
        draft.unlink()
        raise Refusal(400, message='the content is not what its sha256 says')


def sha256_of(file):
    "The sha256 of an open file, in hex."
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(2**20), b''): digest.update(chunk)
    return digest.hexdigest()
