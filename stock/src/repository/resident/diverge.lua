-- Notes that a life of a record does not follow from the database, and stops its sales if it is the one that is served.
--
-- KEYS: the record's hash, the hash of lives that do not follow
-- ARGV: epoch, the life's name, why

redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3])
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('HSETNX', KEYS[1], 'diverged', ARGV[3]) end
return 1
